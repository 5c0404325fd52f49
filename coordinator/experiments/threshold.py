"""The trigger threshold, from histograms of scores summed under masks.

Devices count impressions by the ranker's logit, each weighted by its inverse propensity (times
``propensity_scale``, rounded): a decision to offer that chance made with probability 1/20 stands for twenty. So the
histograms estimate what *always offering* would have got (inverse propensity scoring), although most candidates were
withheld, and the threshold that keeps a given share of those clicks can be read from the cumulative sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
