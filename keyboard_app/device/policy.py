"""What this device agrees to, pinned on it: a plan that asks for less protection or for more work is refused.

The coordinator writes plans; it does not get to write these limits. A refused plan is simply not answered: the device
leaves the round before it has advertised a key, keeps the reason for its owner's eyes and comes back later.
"""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass, replace

import msgspec

from federated_protocol.errors import CodecError
from federated_protocol.plan import (
    PROTOCOL_VERSION,
    Adversary,
    Plan,
    TaskKind,
    ThreatModel,
    VarianceReduction,
    counter_names,
)

ARMS = ("treatment", "holdback")


class PlanRefusal(enum.StrEnum):
    """Which limit a plan broke."""

    PROTOCOL = "protocol"
    TASK = "task"
    FLOOR = "floor"
    THREAT = "threat"
    COHORT = "cohort"
    EPOCHS = "epochs"
    BATCH = "batch"
    LEARNING_RATE = "learning_rate"
    WEIGHT_CAP = "weight_cap"
    DIMENSION = "dimension"
    CLIP = "clip"
    STEP = "step"
    WIDTH = "width"
    ROTATION = "rotation"
    METRICS = "metrics"
    PRIVACY = "privacy"
    PRIVACY_BUDGET = "privacy_budget"
    ALREADY_CONTRIBUTED = "already_contributed"


_EXPLANATION = {
    PlanRefusal.PROTOCOL: "the plan speaks another protocol version",
    PlanRefusal.TASK: "this kind of task is not known here",
    PlanRefusal.FLOOR: "the smallest sum the coordinator would open is below this device's floor",
    PlanRefusal.THREAT: "the graph would protect against less than this device demands",
    PlanRefusal.COHORT: "the cohort's size is out of range",
    PlanRefusal.EPOCHS: "too many passes over the local examples",
    PlanRefusal.BATCH: "the batch size is out of range",
    PlanRefusal.LEARNING_RATE: "the learning rate is out of range",
    PlanRefusal.WEIGHT_CAP: "the weight cap is out of range",
    PlanRefusal.DIMENSION: "the model's size does not fit this device's bundle",
    PlanRefusal.CLIP: "the clipping norm is out of range",
    PlanRefusal.STEP: "the quantisation step is out of range",
    PlanRefusal.WIDTH: "the width of the masked numbers does not follow from clip, step and cohort",
    PlanRefusal.ROTATION: "the rotation seed has a wrong length",
    PlanRefusal.METRICS: "the counters asked for are too many or too fine",
    PlanRefusal.PRIVACY: "the plan's label, noise and counters do not fit together, or it has less noise than demanded",
    PlanRefusal.PRIVACY_BUDGET: "taking part would spend more privacy than this device's cap allows",
    PlanRefusal.ALREADY_CONTRIBUTED: "this device has sent its masked input for this round already",
}


class PlanRefusedError(Exception):
    """The device declines to take part; ``reason`` names the limit."""

    def __init__(self, reason: PlanRefusal) -> None:
        super().__init__(f"plan refused ({reason.value}): {_EXPLANATION[reason]}")
        self.reason = reason


_LEAST_THREAT = ThreatModel(corrupt=0.05, dropout=0.1, adversary=Adversary.SEMI_MALICIOUS, sigma=80, eta=1)


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The limits. Ranges are inclusive (smallest, largest)."""

    smallest_aggregate: int = 20
    """Never join a sum over fewer devices than this."""
    largest_cohort: int = 10_000
    threat: ThreatModel = _LEAST_THREAT
    """A graph must be solved for at least this; eta is the coordinator's own business."""
    epochs: tuple[int, int] = (1, 50)
    batch_size: tuple[int, int] = (1, 256)
    learning_rate: tuple[float, float] = (1e-6, 10.0)
    descent_step: tuple[float, float] = (1e-6, 1_000.0)
    """h of FSVRG, of which a step is the part h / n_k; what it leads to is clipped like any update."""
    weight_cap: tuple[int, int] = (1, 1_000)
    clip: tuple[float, float] = (1e-6, 100.0)
    bits: tuple[int, int] = (2, 32)
    largest_dimension: int = 2_000_000
    weight_levels: tuple[int, int] = (1, 1 << 16)
    most_slots: int = 32
    most_score_edges: int = 256
    largest_propensity_scale: int = 1_024
    most_examples: int = 4_000
    """Only the newest so many examples are trained on, which bounds the time training takes."""
    epsilon_cap: float = 10.0
    """Most privacy this device spends in rounds with noise, over its life, at ``delta``."""
    delta: float = 1e-6
    demands_noise: bool = False
    """True declines every round that gives no guarantee of differential privacy."""
    insecure_demo: bool = False
    """True only where :meth:`demo` lowered the floor; shown wherever the device shows its state."""

    def demo(self, smallest_aggregate: int) -> DevicePolicy:
        """The same limits with a lower floor, marked INSECURE DEMO.

        Raises:
            ValueError: for a floor below 2: a "sum" over one device is its update in the clear.
        """
        if smallest_aggregate < 2:
            raise ValueError("the floor must be at least 2: a sum over one device hides nothing")
        return replace(self, smallest_aggregate=smallest_aggregate, insecure_demo=True)

    def floor_of(self, plan: Plan) -> int:
        """Fewest devices whose inputs may be opened in this round.

        Never below the pinned floor; and where the plan says more, its noise is charged as if so many devices had
        added theirs, so it holds the coordinator to that.
        """
        return max(self.smallest_aggregate, plan.aggregation.smallest_aggregate)

    def check(self, plan: Plan, *dimensions: int) -> None:
        """Accept ``plan``, or refuse it by name.

        Args:
            plan: as decoded from the coordinator's answer.
            dimensions: numbers of weights d of the models of the device's own bundle.

        Raises:
            PlanRefusedError: with the first limit that is broken.
        """
        from federated_protocol.privacy import estimated_names

        training, codec, sums, metrics = plan.training, plan.codec, plan.aggregation, plan.metrics
        if plan.kind is TaskKind.ANALYTICS and plan.noise is not None:
            dimensions = (len(estimated_names(metrics)),)  # usage alone travels; its sum is no model's
        verdicts = (
            (PlanRefusal.PROTOCOL, plan.protocol_version == PROTOCOL_VERSION),
            (PlanRefusal.TASK, _is_what_it_says(plan)),
            (PlanRefusal.FLOOR, sums.smallest_aggregate >= self.smallest_aggregate),
            (PlanRefusal.THREAT, self._protects(sums.threat)),
            (PlanRefusal.COHORT, sums.smallest_aggregate <= sums.largest_cohort <= self.largest_cohort),
            (PlanRefusal.EPOCHS, _within(training.epochs, self.epochs)),
            (PlanRefusal.BATCH, _within(training.batch_size, self.batch_size)),
            (PlanRefusal.LEARNING_RATE, _within(training.learning_rate, self.learning_rate)),
            (PlanRefusal.LEARNING_RATE, _within(training.proximal, (0.0, 1e3))),
            (PlanRefusal.WEIGHT_CAP, _within(training.weight_cap, self.weight_cap)),
            (PlanRefusal.LEARNING_RATE, self._takes_steps_of(training.variance_reduction)),
            (PlanRefusal.DIMENSION, codec.dimension in dimensions and codec.dimension <= self.largest_dimension),
            (PlanRefusal.CLIP, _within(codec.clip, self.clip)),
            (PlanRefusal.STEP, math.isfinite(codec.step) and 0.0 < codec.step <= codec.clip),
            (PlanRefusal.WIDTH, _within(codec.bits, self.bits) and _within(codec.count_bits, self.bits)),
            (PlanRefusal.WIDTH, _within(codec.weight_levels, self.weight_levels)),
            (PlanRefusal.ROTATION, len(codec.rotation_seed) in (0, 32)),
            (PlanRefusal.METRICS, len(metrics.slots) <= self.most_slots),
            (PlanRefusal.METRICS, all(slot.arm in ARMS and slot.version >= 0 for slot in metrics.slots)),
            (PlanRefusal.METRICS, len(set(metrics.slots)) == len(metrics.slots)),
            (PlanRefusal.METRICS, len(set(counter_names(metrics))) == len(counter_names(metrics))),
            (PlanRefusal.METRICS, len(metrics.score_edges) <= self.most_score_edges),
            (PlanRefusal.METRICS, _ascending(metrics.score_edges)),
            (PlanRefusal.METRICS, 1 <= metrics.propensity_scale <= self.largest_propensity_scale),
        )
        for reason, fine in verdicts:
            if not fine:
                raise PlanRefusedError(reason)
        from federated_protocol.privacy import check_privacy
        from federated_protocol.update_codec import check_setting

        try:
            check_setting(codec, sums.largest_cohort)
        except CodecError:
            raise PlanRefusedError(PlanRefusal.WIDTH) from None
        try:
            unprotected = check_privacy(plan) == 0
        except CodecError:
            raise PlanRefusedError(PlanRefusal.PRIVACY) from None
        if plan.noise is not None and plan.noise.corrupt_fraction < self.threat.corrupt:
            raise PlanRefusedError(PlanRefusal.PRIVACY)  # it would count on the noise of devices that may lie
        if unprotected and self.demands_noise:
            raise PlanRefusedError(PlanRefusal.PRIVACY)

    def _takes_steps_of(self, asked: VarianceReduction | msgspec.UnsetType) -> bool:
        if asked is msgspec.UNSET:
            return True
        assert isinstance(asked, VarianceReduction)
        return _within(asked.step, self.descent_step) and _within(asked.l2, (0.0, 1.0))

    def _protects(self, offered: ThreatModel) -> bool:
        pinned = self.threat
        return (
            offered.corrupt >= pinned.corrupt
            and offered.dropout >= pinned.dropout
            and offered.sigma >= pinned.sigma
            and offered.adversary in (pinned.adversary, Adversary.SEMI_MALICIOUS)
        )


def _is_what_it_says(plan: Plan) -> bool:
    """Whether the fields are those of the kind: evaluations alone judge, descents alone have an anchor, usage is
    counted where it is reported, and FSVRG's sums are exact."""
    judges, descends = plan.kind is TaskKind.EVALUATION, plan.kind is TaskKind.DESCENT
    sparse = descends or plan.kind in (TaskKind.FEATURE_COUNTS, TaskKind.GRADIENT)
    return (
        judges == (plan.baseline is not None) == plan.metrics.paired
        and descends == (plan.training.variance_reduction is not msgspec.UNSET)
        and (plan.kind.reports_usage or not plan.metrics.slots)
        and not (sparse and plan.noise is not None)
    )


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return math.isfinite(value) and bounds[0] <= value <= bounds[1]


def _ascending(edges: tuple[float, ...]) -> bool:
    return all(math.isfinite(edge) for edge in edges) and all(a < b for a, b in itertools.pairwise(edges))
