"""Expected click-through rate at a fair operating point, and the lift of one model over another.

CTR alone is maximised by offering nothing. So each model is read at its own threshold, the highest one that keeps a
stated share of the clicks which always showing its best candidate would get, and CTR there is expected clicks over
offers.
Clicks are the typist's probabilities, not draws. Lines of one person belong together, so intervals resample people
(cluster bootstrap), the same people for both models; the threshold is found anew in every resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KEEP_CLICKS = 0.9
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ScoredLines:
    """One row for every line on which a model had a candidate."""

    person: NDArray[np.int64]
    """[n], index of the person."""
    score: Floats
    """[n], the model's logit of its best candidate."""
    taps: Floats
    """[n], probability that this candidate is tapped once examined."""
    lines: int
    """Lines typed, those without any candidate included."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a model does at one threshold; clicks are expected ones."""

    threshold: float
    """Offer when the logit is at least this (above it, where it is the published one)."""
    offers: int
    clicks: float
    ctr: float
    offers_per_line: float
    clicks_of_all: float
    """Clicks that always showing the best candidate would get."""


@dataclass(frozen=True, slots=True)
class Lift:
    """How much higher the later model's CTR is: 0.3 is 30 %."""

    lift: float
    low: float
    """Bounds of the 95 % interval."""
    high: float
    people: int


def operating_point(scored: ScoredLines, keep: float = KEEP_CLICKS) -> OperatingPoint:
    """Read a model at the highest threshold that keeps ``keep`` of the clicks of always showing its best candidate."""
    if not len(scored.score):
        return OperatingPoint(float("inf"), 0, 0.0, 0.0, 0.0, 0.0)
    order, last_of_tie = _by_score(scored)
    clicks = np.cumsum(scored.taps[order])
    # An offer is made at or above the threshold, so lines of equal score come and go together.
    at = int(last_of_tie[np.searchsorted(clicks, keep * clicks[-1] - 1e-12)])
    offers = at + 1
    return OperatingPoint(
        threshold=float(scored.score[order[at]]),
        offers=offers,
        clicks=float(clicks[at]),
        ctr=float(clicks[at]) / offers,
        offers_per_line=offers / max(scored.lines, 1),
        clicks_of_all=float(clicks[-1]),
    )


def field_point(scored: ScoredLines, threshold: float) -> OperatingPoint:
    """Read a model at the threshold it was published with: what exceeds it is offered."""
    offered = scored.score > threshold
    offers, clicks = int(offered.sum()), float(scored.taps[offered].sum())
    return OperatingPoint(
        threshold=threshold,
        offers=offers,
        clicks=clicks,
        ctr=clicks / max(offers, 1),
        offers_per_line=offers / max(scored.lines, 1),
        clicks_of_all=float(scored.taps.sum()),
    )


def _by_score(scored: ScoredLines) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by descending score, and for each the position of the last row with the same score."""
    order = np.argsort(-scored.score, kind="stable")
    ranked = scored.score[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    return order, ends[np.searchsorted(ends, np.arange(len(ranked)))]


def resampled_ctr(scored: ScoredLines, weights: NDArray[np.int64], keep: float = KEEP_CLICKS) -> Floats:
    """CTR at the operating point in each resample of people.

    Arguments:
        scored: one model's lines.
        weights: [resamples, people], how often each person was drawn.
        keep: share of the clicks to keep.

    Returns:
        [resamples]; not a number where a resample has no clicks at all.
    """
    order, last_of_tie = _by_score(scored)
    person, taps = scored.person[order], scored.taps[order]
    ctr = np.empty(len(weights))
    for row, weight in enumerate(weights):
        drawn = weight[person]
        clicks = np.cumsum(drawn * taps)
        at = last_of_tie[min(np.searchsorted(clicks, keep * clicks[-1] - 1e-12), len(clicks) - 1)]
        offers = drawn[: at + 1].sum()
        ctr[row] = clicks[at] / offers if offers else np.nan
    return ctr


def lift(
    pairs: Sequence[tuple[ScoredLines, ScoredLines]],
    people: int,
    rng: np.random.Generator,
    *,
    keep: float = KEEP_CLICKS,
    resamples: int = RESAMPLES,
) -> Lift:
    """Lift of the second model of each pair over the first, averaged over the pairs (one a seed).

    The interval resamples people, the same ones in every pair, and where there are several pairs those too.
    """
    weights = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
    ratios = np.stack(
        [resampled_ctr(last, weights, keep) / resampled_ctr(first, weights, keep) for first, last in pairs]
    )
    if len(pairs) > 1:
        picked = rng.integers(len(pairs), size=(len(pairs), resamples))
        ratios = np.take_along_axis(ratios, picked, axis=0)
    means = np.nanmean(ratios, axis=0) - 1
    low, high = np.nanpercentile(means, [2.5, 97.5])
    points = [operating_point(last, keep).ctr / operating_point(first, keep).ctr - 1 for first, last in pairs]
    return Lift(float(np.mean(points)), float(low), float(high), people)
