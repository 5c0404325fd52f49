"""One judge for all methods: expected clicks on lines that no device trained on.

A method gives a score to the best candidate of every judged line. Clicks are the typist's probabilities, so no draw
adds noise. CTR alone is maximised by offering nothing, so each method is read at the highest threshold of its own that
keeps 90 % of the clicks which always showing the best candidate would get.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import Value
from keyboard_app.simulation.lift import KEEP_CLICKS
from suggestion_model.metrics import auc, calibration_error, log_loss, logistic_line

Floats = NDArray[np.float64]

CURVE = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Shares of the clicks at which the trade-off is read."""
METRICS = (
    "auc",
    "log_loss",
    "calibration",
    "ctr_at_90",
    "threshold",
    "impressions_retained",
    "clicks_retained",
    "offers_on_chat",
)
_T95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, 97.5 %, by degrees of freedom."""


@dataclass(frozen=True)
class Judged:
    """The judged lines that had a candidate, m of them."""

    probability: Floats
    """[m], of a tap once examined."""
    chat: NDArray[np.bool_]
    """[m]"""
    chat_lines: int
    """Judged chat lines in all, those without a candidate included."""
    lines: int

    def judge(self, scores: NDArray[np.floating], logits: NDArray[np.floating] | None = None) -> dict[str, float]:
        """All :data:`METRICS` of one method.

        Args:
            scores: [m], order the lines.
            logits: [m], of the probability of a tap; the scores when None.
        """
        at = operating_row(scores, self.probability, KEEP_CLICKS)
        return self._read(scores, at) | {
            "auc": auc(scores, self.probability),
            "log_loss": log_loss(scores if logits is None else logits, self.probability),
            "calibration": calibration_error(scores if logits is None else logits, self.probability, bins=20),
        }

    def judge_always(self, scores: NDArray[np.floating], logits: NDArray[np.floating]) -> dict[str, float]:
        """The same for a method that has no threshold and shows every candidate it has."""
        return self.judge(scores, logits) | self._read(scores, float(scores.min()))

    def _read(self, scores: NDArray[np.floating], threshold: float) -> dict[str, float]:
        offered = scores >= threshold
        clicks = float(self.probability[offered].sum())
        return {
            "ctr_at_90": clicks / max(int(offered.sum()), 1),
            "threshold": threshold,
            "impressions_retained": float(offered.mean()),
            "clicks_retained": clicks / max(float(self.probability.sum()), 1e-12),
            "offers_on_chat": float((offered & self.chat).sum()) / max(self.chat_lines, 1),
        }

    def curve(self, scores: NDArray[np.floating]) -> list[dict[str, float]]:
        """The trade-off: what remains of impressions and what CTR is had, by the share of clicks kept."""
        points = []
        for share in CURVE:
            point = self._read(scores, operating_row(scores, self.probability, share))
            points.append({"clicks_retained": share} | {name: point[name] for name in _CURVE_METRICS})
        return points


_CURVE_METRICS = ("impressions_retained", "ctr_at_90", "offers_on_chat")


def operating_row(scores: NDArray[np.floating], clicks: Floats, share: float) -> float:
    """The highest threshold whose offers (score >= threshold) still bring ``share`` of all clicks."""
    order = np.argsort(-scores, kind="stable")
    kept = np.cumsum(clicks[order])
    at = min(int(np.searchsorted(kept, share * kept[-1] - 1e-9)), len(order) - 1)
    return float(scores[order[at]])


def over_seeds(values: Sequence[float | None]) -> dict[str, Value]:
    """Mean and 95 % interval (Student's t) over seeds; all the same for one seed, None where a seed has no value."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "low": None, "high": None}
    mean = float(np.mean(known))
    if len(known) == 1:
        return {"mean": mean, "low": mean, "high": mean}
    degrees = min(len(known) - 1, len(_T95) - 1)
    half = _T95[degrees] * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def gain(method: float, start: float, bound: float) -> float | None:
    """(method - start) / (bound - start); None where the bound is no better than the start."""
    return (method - start) / (bound - start) if bound > start else None


def calibrated(scores: Floats, clicks: Floats, parts: NDArray[np.integer]) -> Floats:
    """Logits from scores that are no probabilities: slope and intercept fitted on one half of the people (Platt).

    Args:
        scores: [m]
        clicks: [m], probabilities.
        parts: [m], 0 or 1, by person; each half gets the line fitted on the other.
    """
    logits = np.empty(len(scores))
    z = (scores - scores.mean()) / (scores.std() + 1e-12)
    for part in (0, 1):
        fitted, used = parts != part, parts == part
        mean = float(np.clip(clicks[fitted].mean(), 1e-6, 1 - 1e-6))
        flat = (0.0, math.log(mean / (1 - mean)))
        slope, intercept = logistic_line(z[fitted], clicks[fitted], np.ones(fitted.sum()), flat)
        logits[used] = slope * z[used] + intercept
    return logits


def rounds_to(curve: Sequence[tuple[int, Mapping[str, float]]], metric: str, target: float) -> int | None:
    """The first evaluated round from which ``metric`` is at least ``target``; None when it never is."""
    return next((number for number, found in curve if found[metric] >= target), None)
