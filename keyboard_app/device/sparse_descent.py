"""What the rounds of FSVRG ask of a device (arXiv 1610.02527, algorithm 4): counts, a gradient, one pass of steps.

Each is one vector of one secure sum. They are taken on the hashed features that the trigger sees of the device's own
log, in NumPy: a row has some sixty places, a pass takes a few milliseconds a hundred rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from federated_protocol import wire
from federated_protocol.errors import MalformedMessage
from federated_protocol.messages import Anchor
from federated_protocol.plan import Plan, VarianceReduction
from keyboard_app.device.local_training import Trained
from keyboard_app.device.model_store import ModelRejectedError, StoredModel
from keyboard_app.device.pace import Pace
from keyboard_app.device.policy import PlanRefusal, PlanRefusedError
from keyboard_app.device.workbench import Workbench
from suggestion_model.types import Head

if TYPE_CHECKING:
    from suggestion_model.sparse import SparseRows

Stop = Callable[[], bool]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """What all devices together know at a model: float64[d] each."""

    gradient: Floats
    feature_share: Floats


def read_anchor(raw: bytes, digest: str, dimension: int) -> AnchorPoint:
    """Check a downloaded :class:`federated_protocol.messages.Anchor` against the plan's digest.

    Raises:
        ModelRejectedError: digest, size or numbers are not as they should be.
    """
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ModelRejectedError("the anchor's SHA-256 is not the announced one: download it again")
    try:
        anchor: Anchor = wire.decode(raw, Anchor)
    except MalformedMessage:
        raise ModelRejectedError("the anchor cannot be decoded") from None
    if not len(anchor.gradient) == len(anchor.feature_share) == 4 * dimension:
        raise ModelRejectedError(f"the anchor is not one of a model of {dimension} weights")
    gradient, share = (
        np.frombuffer(part, "<f4").astype(np.float64) for part in (anchor.gradient, anchor.feature_share)
    )
    if not (np.isfinite(gradient).all() and (share >= 0).all() and (share <= 1).all()):
        raise ModelRejectedError("the anchor holds numbers that cannot be")
    return AnchorPoint(gradient, share)


class SparseDescent:
    """Counts, differentiates and descends for one device.

    Args:
        bench: the offers of its log.
        pace: bounds the share of time it takes.
        rng: order of the examples (not a secret).
    """

    def __init__(self, bench: Workbench, pace: Pace, rng: np.random.Generator) -> None:
        self._bench = bench
        self._pace = pace
        self._rng = rng

    def counts(self, plan: Plan, model: StoredModel, anchor: AnchorPoint | None, should_stop: Stop) -> Trained:
        """In how many of the newest examples each feature occurs; older ones than a counter holds are left out."""
        from suggestion_model.algorithms.fsvrg import count_vector

        dimension, rows = len(model.weights), self._rows(plan, model, should_stop, most=plan.codec.count_cap)
        if rows is None:
            return Trained.nothing(dimension, counters=2 * dimension)
        features = count_vector(rows, dimension)[: 2 * dimension]
        return Trained(np.zeros(dimension, np.float32), len(rows), features=features)

    def gradient(self, plan: Plan, model: StoredModel, anchor: AnchorPoint | None, should_stop: Stop) -> Trained:
        """The mean gradient of the device's examples at the model, without the ridge."""
        from suggestion_model.sparse import gradient_sum

        rows = self._rows(plan, model, should_stop)
        if rows is None:
            return Trained.nothing(len(model.weights))
        mean = gradient_sum(model.weights.astype(np.float64), rows) / len(rows)
        return Trained(mean, len(rows))

    def descent(self, plan: Plan, model: StoredModel, anchor: AnchorPoint | None, should_stop: Stop) -> Trained:
        """One pass of variance-reduced steps from the model."""
        from suggestion_model.algorithms.fsvrg import Fsvrg

        assert anchor is not None
        reduction = plan.training.variance_reduction
        assert isinstance(reduction, VarianceReduction)
        rows = self._rows(plan, model, should_stop)
        if rows is None:
            return Trained.nothing(len(model.weights))
        algorithm = Fsvrg(reduction.step, reduction.l2)
        weights = model.weights.astype(np.float64)
        with np.errstate(all="ignore"):  # a step that diverges is refused by the codec
            moved = algorithm.update(weights, anchor.gradient, rows, anchor.feature_share, self._rng)
        return Trained(moved, len(rows))

    def _rows(self, plan: Plan, model: StoredModel, should_stop: Stop, most: int | None = None) -> SparseRows | None:
        """The newest examples as the trigger sees them, at most ``most``; None without any.

        Raises:
            PlanRefusedError: the model is not the trigger.
            TrainingStoppedError: it was cancelled.
        """
        from suggestion_model.sparse import SparseRows

        if model.head is not Head.TRIGGER:
            raise PlanRefusedError(PlanRefusal.TASK)
        self._pace.begin()
        offers = self._bench.newest()
        examples = self._bench.examples(offers if most is None else offers[-most:], should_stop, self._pace.rest)
        return SparseRows.of(examples) if examples else None
