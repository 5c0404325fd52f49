"""Federated averaging of the opened sums of a round's cohorts, and the checks they and the result must pass.

Every device sends w * delta and w = min(n_k, W) / W under the mask, with |delta| <= clip. Their sums give the
example-weighted mean of algorithm 1 in arXiv 1602.05629, and neither the coordinator nor anybody else sees a single
term. Under masks a malicious device can still shift the sum by any vector, so a mean that no honest cohort can have
is thrown away whole: the round, or the one cohort of several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coordinator.aggregation.deviation import FEWEST_COHORTS, deviant_cohorts
from coordinator.aggregation.optimizers import OptimizerState, ServerOptimizer
from federated_protocol.messages import ModelArtifact
from federated_protocol.plan import CodecSetting
from federated_protocol.update_codec import DecodedSum, largest_mean_norm


@dataclass(frozen=True, slots=True)
class CohortSum:
    """The decoded sum of one cohort's updates."""

    decoded: DecodedSum
    codec: CodecSetting
    """Of the cohort's plan."""
    devices: int
    """In the sum."""

    @property
    def possible(self) -> bool:
        """Whether honest devices can have such a mean: it is finite and no longer than the clip allows."""
        weight = self.decoded.weight_sum
        if weight <= 0:
            return True
        with np.errstate(over="ignore"):
            norm = float(np.linalg.norm(self.decoded.update_sum / weight))
        return math.isfinite(norm) and norm <= largest_mean_norm(self.codec, self.devices, weight)


class GateRejectedError(Exception):
    """The next model must not be published; the message names the rule, not the values."""


@dataclass(frozen=True, slots=True)
class NextModel:
    """What a round publishes."""

    artifact: ModelArtifact
    optimizer_state: bytes
    update_norm: float
    """L2 norm of the weighted mean update, in units of the weights."""


def agreeing_sums(sums: Sequence[CohortSum], largest_deviation: float) -> tuple[list[CohortSum], frozenset[int]]:
    """The cohort sums that may be averaged, and the places of those that are left out.

    With other cohorts to compare it with, one that no honest cohort can have, or that deviates
    (:mod:`coordinator.aggregation.deviation`), is left out.

    Raises
    ------
    GateRejectedError
        when an impossible sum has too few others beside it to be the exception.
    """
    weighing = [place for place, found in enumerate(sums) if found.decoded.weight_sum > 0]
    impossible = frozenset(place for place in weighing if not sums[place].possible)
    if impossible and (len(weighing) < FEWEST_COHORTS or 2 * len(impossible) >= len(weighing)):
        raise GateRejectedError("the mean update is not finite, or longer than the clip allows")
    compared = [place for place in weighing if place not in impossible]
    means = [sums[place].decoded.mean_update() for place in compared]
    far = deviant_cohorts(means, [sums[place].devices for place in compared], largest_deviation)
    left_out = impossible | {compared[place] for place in far}
    return [found for place, found in enumerate(sums) if place not in left_out], left_out


def make_next_model(
    base: ModelArtifact,
    base_weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    optimizer_state: bytes | None,
    sums: Sequence[CohortSum],
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
    sums
        Of every cohort that counts, added in the clear.
    threshold
        The next trigger threshold, a logit.
    prior_weight
        Weight, >= 0, of imagined devices that report no change. The mean of few taps is noisy; this shrinks it, and
        hardly touches the mean of a large cohort.

    Raises
    ------
    GateRejectedError
        when no device had examples, or a value is not finite, or the mean of a cohort is longer than the clip allows.
    """
    weight = math.fsum(found.decoded.weight_sum for found in sums)
    if weight <= 0:
        raise GateRejectedError("no device contributed an example")
    if not all(found.possible for found in sums):
        raise GateRejectedError("the mean update is not finite, or longer than the clip allows")
    mean = np.sum([found.decoded.update_sum for found in sums], axis=0) / weight
    norm = float(np.linalg.norm(mean))
    shrunk = mean * (weight / (weight + prior_weight))
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
