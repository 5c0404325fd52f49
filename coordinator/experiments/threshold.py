"""The trigger threshold, from histograms of scores summed under masks.

Devices count impressions by the ranker's logit, each weighted by its inverse propensity (times
``propensity_scale``, rounded): a decision to offer that chance made with probability 1/20 stands for twenty. So the
histograms estimate what *always offering* would have got (inverse propensity scoring), although most candidates were
withheld, and the threshold that keeps a given share of those clicks can be read from the cumulative sum.

Clicks are few, and one that chance offered stands for ten or twenty: what fell into a low bin may be a single tap, and
a threshold read from it jumps to where everything is offered. So not the clicks are cumulated but what the offers of
each bin, of which there are many, lead to expect (:meth:`ScoreHistograms.expected`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from suggestion_model.metrics import logistic_line

PRIOR_CLICKS = 10.0
"""Clicks that are imagined to have fallen as the model foresees them: few beside those a threshold is made of."""


@dataclass(frozen=True, slots=True)
class ScoreHistograms:
    """Weighted clicks and offers by logit bin; ``len(edges) + 1`` bins, lowest first, the outer two open."""

    edges: tuple[float, ...]
    clicks: NDArray[np.float64]
    offers: NDArray[np.float64]

    @classmethod
    def accumulate(
        cls, rounds: Iterable[Mapping[str, int]], edges: Sequence[float], scale: int, decay: float
    ) -> ScoreHistograms:
        """Add the counters of several rounds, newest first, each worth ``decay`` of the next newer one.

        ``scale`` is the plan's ``propensity_scale``: the result is in impressions.
        """
        bins = len(edges) + 1
        clicks, offers = np.zeros(bins), np.zeros(bins)
        for age, sums in enumerate(rounds):
            weight = decay**age / scale
            for b in range(bins):
                clicks[b] += weight * sums.get(f"clicks_by_score/{b}", 0)
                offers[b] += weight * sums.get(f"offers_by_score/{b}", 0)
        return cls(tuple(edges), clicks, offers)

    @property
    def middles(self) -> NDArray[np.float64]:
        """The logit that stands for each bin; the open ones are taken as wide as their neighbours.

        Raises:
            ValueError: nothing was counted by score, so that there are no bins.
        """
        if not self.edges:
            raise ValueError("histograms without edges have no bins")
        inner = np.asarray(self.edges, np.float64)
        width = float(inner[1] - inner[0]) if len(inner) > 1 else 1.0
        around = np.concatenate([[inner[0] - width], inner, [inner[-1] + width]])
        return np.asarray((around[:-1] + around[1:]) / 2)

    def expected(self, prior_clicks: float = PRIOR_CLICKS) -> ScoreHistograms:
        """The same offers with the clicks they lead to expect in each bin; their sum is that of the clicks.

        The probability of a click is taken as logistic in the logit, slope and intercept fitted to all bins together
        (Platt scaling), beside ``prior_clicks`` clicks more that fell as the model foresees them. Without clicks, as
        where sums with noise count nothing by score, it is the histogram itself.
        """
        total = float(self.clicks.sum())
        if total <= 0 or self.offers.sum() <= 0:
            return self
        middles = self.middles
        foreseen = self.offers / (1 + np.exp(-middles))
        share = prior_clicks / float(foreseen.sum())
        slope, intercept = logistic_line(middles, self.clicks + share * foreseen, self.offers * (1 + share))
        found = self.offers / (1 + np.exp(-slope * middles - intercept))
        return replace(self, clicks=found * (total / float(found.sum())))


def calibrate_threshold(
    histograms: ScoreHistograms, current: float, *, keep_clicks: float = 0.9, smallest_click_mass: float = 50.0
) -> float:
    """The highest logit that keeps ``keep_clicks`` of the weighted clicks.

    Inside a bin the clicks are taken as spread evenly. With less click mass than ``smallest_click_mass`` the current
    threshold is kept: a threshold from a handful of clicks is noise.

    Parameters
    ----------
    histograms
        From :meth:`ScoreHistograms.accumulate`.
    current
        The threshold in force, a logit.
    keep_clicks
        Share in (0, 1).
    smallest_click_mass
        In clicks, after weighting.
    """
    total = float(histograms.clicks.sum())
    if total < smallest_click_mass:
        return current
    lose = (1.0 - keep_clicks) * total
    edges = histograms.edges
    below = np.concatenate(([0.0], np.cumsum(histograms.clicks)))
    chosen = int(np.searchsorted(below, lose, side="right")) - 1  # the bin in which the allowed loss is used up
    if chosen <= 0:
        return float(edges[0])  # the lowest bin is open: nothing is known inside it
    if chosen >= len(edges):
        return float(edges[-1])
    share = (lose - below[chosen]) / histograms.clicks[chosen]
    return float(edges[chosen - 1] + share * (edges[chosen] - edges[chosen - 1]))
