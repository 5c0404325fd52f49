"""What a device says about scores: histograms by label, and by how much one model's log loss differs from another's.

Everything is an integer that is only ever opened as a sum. Histograms estimate what always offering would have got,
by inverse propensity; area under the curve, log loss, calibration and the trigger threshold follow from their sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated_protocol.plan import LOSS_CLIP, LOSS_LEVELS, MetricSetting

LARGEST_INVERSE_PROPENSITY = 100.0
"""No single offer stands for more than this many."""


@dataclass(frozen=True, slots=True)
class ScoredOffers:
    """m offers under one model."""

    logits: NDArray[np.float32]
    """float32[m]"""
    clicked: NDArray[np.bool_]
    """bool[m]"""
    inverse_propensity: NDArray[np.float64]
    """float64[m], >= 1."""

    @property
    def mass(self) -> NDArray[np.float64]:
        """How many offers each stands for, float64[m], clipped at :data:`LARGEST_INVERSE_PROPENSITY`."""
        return np.minimum(self.inverse_propensity, LARGEST_INVERSE_PROPENSITY)


def histograms(metrics: MetricSetting, offers: ScoredOffers) -> NDArray[np.uint64]:
    """Clicks and offers by bin of the logit, uint64[2 * (len(score_edges) + 1)].

    Bin b counts ``edges[b-1] < logit <= edges[b]``: an offer is made when the logit *exceeds* a threshold, so one that
    equals an edge lies below it.
    """
    bins = np.searchsorted(np.asarray(metrics.score_edges, np.float64), offers.logits.astype(np.float64), side="left")
    mass, length = metrics.propensity_scale * offers.mass, len(metrics.score_edges) + 1
    clicks = np.bincount(bins, mass * offers.clicked, minlength=length)
    counts: NDArray[np.float64] = np.rint(np.concatenate([clicks, np.bincount(bins, mass, minlength=length)]))
    return counts.astype(np.uint64)


def judgement(metrics: MetricSetting, ours: ScoredOffers, theirs: ScoredOffers) -> NDArray[np.uint64]:
    """The baseline's part of a paired setting: its histograms, and the change of this device's mean log loss.

    Args:
        metrics: a paired setting.
        ours: under the judged model.
        theirs: the same offers under the baseline.

    Returns:
        uint64[2 * bins + 3], as :func:`federated_protocol.plan.counter_names` names them.
    """
    change = [0, 0, 0]
    if len(ours.logits):
        mean = float(np.average(_losses(ours) - _losses(theirs), weights=ours.mass))
        level = round(LOSS_LEVELS * min(max(mean / LOSS_CLIP, -1.0), 1.0))
        change = [1, level + LOSS_LEVELS, level * level]
    return np.concatenate([histograms(metrics, theirs), np.array(change, np.uint64)])


def _losses(offers: ScoredOffers) -> NDArray[np.float64]:
    """Cross-entropy of each offer, nats."""
    z = offers.logits.astype(np.float64)
    return np.maximum(z, 0.0) - z * offers.clicked + np.log1p(np.exp(-np.abs(z)))
