"""Federated averaging of one opened sum, and the gate the result must pass.

Every device sends w * delta and w = min(n_k, W) / W under the mask, with |delta| <= clip. Their sums give the
example-weighted mean of algorithm 1 in arXiv 1602.05629, and neither the coordinator nor anybody else sees a single
term. Under masks a malicious device can still shift the sum by any vector, so a mean that no honest cohort can have
is thrown away whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coordinator.aggregation.optimizers import OptimizerState, ServerOptimizer
from federated_protocol.messages import ModelArtifact
from federated_protocol.plan import CodecSetting
from federated_protocol.update_codec import DecodedSum, largest_mean_norm


class GateRejectedError(Exception):
    """The next model must not be published; the message names the rule, not the values."""


@dataclass(frozen=True, slots=True)
class NextModel:
    """What a round publishes."""

    artifact: ModelArtifact
    optimizer_state: bytes
    update_norm: float
    """L2 norm of the weighted mean update, in units of the weights."""


def make_next_model(
    base: ModelArtifact,
    base_weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    optimizer_state: bytes | None,
    decoded: DecodedSum,
    setting: CodecSetting,
    devices: int,
    optimizer: ServerOptimizer,
    threshold: float,
    prior_weight: float = 0.0,
) -> NextModel:
    """Average, step, check.

    Parameters
    ----------
    base
        The artifact the devices started from; ``base_weights`` are its weights, float64 [d].
    optimizer_state
        As stored with the base version, or None.
    decoded
        The decoded sum over ``devices`` devices.
    setting
        The codec of the round's plan.
    threshold
        The next trigger threshold, a logit.
    prior_weight
        Weight, >= 0, of imagined devices that report no change. The mean of few taps is noisy; this shrinks it, and
        hardly touches the mean of a large cohort.

    Raises
    ------
    GateRejectedError
        when no device had examples, or a value is not finite, or the mean is longer than the clip allows.
    """
    if decoded.weight_sum <= 0:
        raise GateRejectedError("no device contributed an example")
    mean = decoded.update_sum / decoded.weight_sum
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(mean))
    if not math.isfinite(norm):
        raise GateRejectedError("the mean update is not finite")
    if norm > largest_mean_norm(setting, devices, decoded.weight_sum):
        raise GateRejectedError("the mean update is longer than the clip allows")
    shrunk = mean * (decoded.weight_sum / (decoded.weight_sum + prior_weight))
    weights, state = optimizer.step(base_weights, shrunk, OptimizerState.decode(optimizer_state))
    with np.errstate(over="ignore"):
        stored = weights.astype("<f4")
    if not (np.isfinite(stored).all() and math.isfinite(threshold)):
        raise GateRejectedError("the next weights or threshold are not finite")
    artifact = ModelArtifact(
        version=base.version + 1,
        parent=base.version,
        bundle_digest=base.bundle_digest,
        weights=stored.tobytes(),
        threshold=float(threshold),
    )
    return NextModel(artifact, state.encode(), norm)
