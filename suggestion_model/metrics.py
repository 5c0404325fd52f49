"""How good scores are: ranking, surprise, calibration.

Labels may be drawn taps (0 or 1) or expected taps (probabilities), so that simulations compare without the noise of
the draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NEWTON_STEPS = 30
_RIDGE = 1e-6
"""Keeps a fit defined where all offers have one score."""


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a click > score of a non-click), ties count half.

    Args:
        scores: [n]
        labels: [n] in [0, 1]; a fractional label counts as that much click and the rest non-click.

    Returns:
        in [0, 1]; nan when there are no clicks or nothing but clicks.
    """
    s, y = _pair(scores, labels)
    _, group = np.unique(s, return_inverse=True)
    positive = np.bincount(group, weights=y)
    negative = np.bincount(group, weights=1.0 - y)
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def log_loss(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Weighted mean cross-entropy in nats of logits [n] against labels [n] in [0, 1]; nan without weight."""
    z, y = _pair(logits, labels)
    w = np.ones_like(z) if weights is None else np.asarray(weights, np.float64)
    losses = np.maximum(z, 0.0) - z * y + np.log1p(np.exp(-np.abs(z)))
    total = w.sum()
    return float((losses * w).sum() / total) if total > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Examples whose predicted probability fell into [low, high)."""

    low: float
    high: float
    count: int
    predicted: float
    """Mean predicted probability; nan when empty."""
    observed: float
    """Mean label; nan when empty."""


def calibration_bins(logits: ArrayLike, labels: ArrayLike, bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Predicted against observed click probability in ``bins`` equal intervals of probability."""
    z, y = _pair(logits, labels)
    p = 0.5 * (1.0 + np.tanh(0.5 * z))
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(index, weights=p, minlength=bins) / count
        observed = np.bincount(index, weights=y, minlength=bins) / count
    return tuple(
        CalibrationBin(b / bins, (b + 1) / bins, int(count[b]), float(predicted[b]), float(observed[b]))
        for b in range(bins)
    )


def calibration_error(logits: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean |predicted - observed| over bins, weighted by their counts."""
    filled = [b for b in calibration_bins(logits, labels, bins) if b.count]
    total = sum(b.count for b in filled)
    return sum(b.count * abs(b.predicted - b.observed) for b in filled) / total if total else float("nan")


def _pair(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if s.ndim != 1 or s.shape != y.shape:
        raise ValueError(f"Scores {list(s.shape)} and labels {list(y.shape)} must be vectors of one length.")
    if np.isnan(s).any() or np.isnan(y).any():
        raise ValueError("Scores and labels must not be NaN.")
    return s, y


def logistic_line(
    scores: ArrayLike, clicks: ArrayLike, offers: ArrayLike, start: tuple[float, float] = (1.0, 0.0)
) -> tuple[float, float]:
    """Slope and intercept that make logits of scores (Platt scaling): a logistic regression, by Newton's method.

    Args:
        scores: [n]
        clicks: [n], clicks, or tap probabilities, of ``offers`` offers, each >= 0.
        offers: [n], >= 0.
        start: where the search begins, and stays in what the data do not tell.
    """
    columns = np.stack([np.asarray(scores, np.float64), np.ones(np.shape(scores))], axis=1)
    c, n = np.asarray(clicks, np.float64), np.asarray(offers, np.float64)
    line = np.array(start, np.float64)
    for _ in range(_NEWTON_STEPS):
        p = 0.5 + 0.5 * np.tanh(0.5 * (columns @ line))
        curvature = (columns * (n * p * (1 - p))[:, None]).T @ columns + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, columns.T @ (n * p - c))
        line = line - step / max(1.0, float(np.abs(step).max()))  # at most 1 at a time: undamped, Newton may run away
    return float(line[0]), float(line[1])
