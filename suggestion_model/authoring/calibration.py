"""Label-free calibration: how dense features spread on unlabelled text, and which share of lines draws an offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ..features import BASELINE_INDEX, DENSE_FEATURES, Habits, dense_rows
from ..types import CandidateSource, Context
from .corpus import Turn

OFFER_SHARE = 0.25
"""Version 0 offers on this share of unlabelled lines: often enough that the first logs hold something to learn from."""
CENTRE_LOGIT = -2.0
"""Logit of version 0 at its threshold: a guess at how often an offer just worth making is tapped, not a fit."""

_FALLBACK_TIME = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What unlabelled text says about the features."""

    mean: NDArray[np.float32]
    """[DENSE_FEATURES]"""
    deviation: NDArray[np.float32]
    """[DENSE_FEATURES], > 0"""
    threshold_score: float
    """Baseline score exceeded by the best candidate of :data:`OFFER_SHARE` of the lines."""
    slope: float
    intercept: float
    """Version 0's logit is slope * baseline score + intercept; slope is one over the score's deviation."""

    @property
    def threshold_logit(self) -> float:
        """Version 0's logit at the threshold score."""
        return self.slope * self.threshold_score + self.intercept


def calibrate(turns: Sequence[Turn], source: CandidateSource, sample: int, rng: np.random.Generator) -> Calibration:
    """Look at the best candidates of ``sample`` lines drawn from ``turns``.

    Means and deviations are those of the first candidate of each line that has one. Habits are empty here, so their
    features keep mean 0 and deviation 1.
    """
    chosen = rng.choice(len(turns), size=min(sample, len(turns)), replace=False)
    rows = []
    best_scores = np.zeros(len(chosen))
    for at, index in enumerate(np.sort(chosen)):
        turn = turns[int(index)]
        context = Context(turn.text, turn.earlier)
        candidates = source.candidates(context, limit=8)[:1]
        if candidates:
            best_scores[at] = candidates[0].score
            rows.append(dense_rows(context, candidates, Habits(), turn.when or _FALLBACK_TIME)[0])
    return from_rows(np.array(rows, np.float32).reshape(-1, DENSE_FEATURES), best_scores)


def from_rows(rows: NDArray[np.float32], best_scores: NDArray[np.float64]) -> Calibration:
    """Calibration from dense rows of best candidates and the best score of every line (0 where there is none)."""
    mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(DENSE_FEATURES)
    deviation = rows.std(axis=0, dtype=np.float64) if len(rows) else np.ones(DENSE_FEATURES)
    deviation = np.where(deviation > 1e-3, deviation, 1.0)
    threshold = float(np.quantile(best_scores, 1.0 - OFFER_SHARE)) if len(best_scores) else 0.0
    slope = 1.0 / float(deviation[BASELINE_INDEX])
    return Calibration(
        mean.astype(np.float32), deviation.astype(np.float32), threshold, slope, CENTRE_LOGIT - slope * threshold
    )

