"""What an evaluation's sum says about a model: ranking, log loss, calibration, clicks kept; and whether it may go out.

All of it is read from histograms of logits by label, weighted by inverse propensity, and from three sums over devices;
no score and no label of anybody is known. Bins are half a logit wide, so area and loss are those of scores rounded to
the middle of their bin; both models are rounded alike.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from coordinator.experiments.statistics import Estimate
from coordinator.experiments.threshold import ScoreHistograms, calibrate_threshold
from federated_protocol.plan import LOSS_CHANGE, LOSS_CLIP, LOSS_LEVELS

SMALLEST_CLICKS_KEPT = 0.9
"""A model's own threshold must keep this share of the clicks that the baseline's keeps."""


class GateVerdict(enum.StrEnum):
    """What the evidence allows."""

    PASSED = "passed"
    TOO_FEW = "too_few_devices"
    """Not enough devices had offers that no training has seen: asked again."""
    LOSS_ROSE = "loss_rose"
    """Log loss rose beyond chance, and the ranking did not get better instead."""
    CLICKS_LOST = "clicks_lost"
    """Its threshold would lose more than a tenth of the clicks that the baseline's keeps."""


class ScoreQuality(msgspec.Struct, frozen=True):
    """One model on the offers of an evaluation; None without clicks, or without anything else."""

    auc: float | None
    """P(score of a click > score of another offer), ties half."""
    log_loss: float | None
    """Nats an offer."""
    calibration_error: float | None
    """Mean distance of predicted and observed click probability over the bins, by offers."""
    clicks_kept: float | None
    """Share of the clicks above the model's threshold."""
    best_threshold: float
    """The highest logit that keeps the wanted share of clicks, by these histograms."""


class Evaluation(msgspec.Struct, frozen=True):
    """How a model compares with the one in the field, on the same offers."""

    version: int
    baseline_version: int
    devices: int
    """With offers that no training has seen."""
    offers: float
    """Weighted by inverse propensity."""
    clicks: float
    judged: ScoreQuality
    baseline: ScoreQuality
    loss_change: float | None
    """Mean over devices of the change of their log loss, nats; each clipped."""
    loss_change_low: float | None
    loss_change_high: float | None
    verdict: GateVerdict


def evaluate(
    sums: Mapping[str, int],
    edges: Sequence[float],
    scale: int,
    *,
    versions: tuple[int, int],
    thresholds: tuple[float, float],
    keep_clicks: float,
    smallest_click_mass: float,
    fewest_devices: int,
    level: float,
) -> Evaluation:
    """Judge from the counters of one sum (:func:`federated_protocol.plan.counter_names` of a paired setting).

    Parameters
    ----------
    edges, scale
        ``score_edges`` and ``propensity_scale`` of the plan.
    versions, thresholds
        Of the judged model and of the baseline.
    keep_clicks
        Share of clicks a threshold is calibrated for.
    smallest_click_mass
        Weighted clicks below which nothing is said about thresholds.
    fewest_devices
        Devices without which nothing is decided.
    level
        Confidence of the interval for the loss.
    """
    named = {name.removeprefix("baseline_"): value for name, value in sums.items() if name.startswith("baseline_")}
    ours, theirs = (ScoreHistograms.accumulate([found], edges, scale, 1.0) for found in (sums, named))
    judged, baseline = (
        _quality(histogram, threshold, keep_clicks, smallest_click_mass)
        for histogram, threshold in zip((ours, theirs), thresholds, strict=True)
    )
    change = loss_change(sums)
    low, high = (None, None) if change is None else change.interval(level)
    devices = sums.get(LOSS_CHANGE[0], 0)
    enough_clicks = float(ours.clicks.sum()) >= smallest_click_mass
    if devices < max(fewest_devices, 2) or low is None:
        verdict = GateVerdict.TOO_FEW
    elif low > 0 and not (judged.auc or 0.0) > (baseline.auc or 0.0):
        verdict = GateVerdict.LOSS_ROSE
    elif enough_clicks and (judged.clicks_kept or 0.0) < SMALLEST_CLICKS_KEPT * (baseline.clicks_kept or 0.0):
        verdict = GateVerdict.CLICKS_LOST
    else:
        verdict = GateVerdict.PASSED
    return Evaluation(
        version=versions[0],
        baseline_version=versions[1],
        devices=devices,
        offers=float(ours.offers.sum()),
        clicks=float(ours.clicks.sum()),
        judged=judged,
        baseline=baseline,
        loss_change=None if change is None else change.value,
        loss_change_low=low,
        loss_change_high=high,
        verdict=verdict,
    )


def loss_change(sums: Mapping[str, int]) -> Estimate | None:
    """Mean change of a device's log loss, nats, with its standard error; None with fewer than two devices."""
    n, shifted, squares = (sums.get(name, 0) for name in LOSS_CHANGE)
    if n < 2:
        return None
    mean = shifted / n - LOSS_LEVELS
    # Rounding to whole steps adds a twelfth of a step squared: without it, equal devices would look certain.
    variance = max(squares - n * mean * mean, 0.0) / (n - 1) + 1 / 12
    step = LOSS_CLIP / LOSS_LEVELS
    return Estimate(step * mean, step * math.sqrt(variance / n), n)


def _quality(histogram: ScoreHistograms, threshold: float, keep_clicks: float, smallest: float) -> ScoreQuality:
    clicks, others = histogram.clicks, np.maximum(histogram.offers - histogram.clicks, 0.0)
    total_clicks, total_others = float(clicks.sum()), float(others.sum())
    total = total_clicks + total_others
    predicted = 1 / (1 + np.exp(-histogram.middles))
    auc = loss = error = kept = None
    if total_clicks > 0 and total_others > 0:
        below = np.cumsum(others) - others
        auc = float((clicks * (below + 0.5 * others)).sum() / (total_clicks * total_others))
    if total > 0:
        loss = float(-(clicks * np.log(predicted) + others * np.log1p(-predicted)).sum() / total)
        error = float(np.abs(clicks - predicted * (clicks + others)).sum() / total)
    if total_clicks > 0:
        kept = float((clicks * _share_above(histogram.edges, threshold)).sum() / total_clicks)
    expected = histogram.expected()
    best = calibrate_threshold(expected, threshold, keep_clicks=keep_clicks, smallest_click_mass=smallest)
    return ScoreQuality(auc, loss, error, kept, best)


def _share_above(edges: Sequence[float], threshold: float) -> NDArray[np.float64]:
    """Share of each bin above a logit, scores taken as spread evenly inside a bin."""
    inner = np.asarray(edges, np.float64)
    width = float(inner[1] - inner[0]) if len(inner) > 1 else 1.0
    low = np.concatenate([[inner[0] - width], inner])
    high = np.concatenate([inner, [inner[-1] + width]])
    return np.asarray(np.clip((high - threshold) / (high - low), 0.0, 1.0))
