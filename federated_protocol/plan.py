"""What a round asks of a device: the plan, and the small immutable settings inside it.

A plan is made once by the coordinator when a round is configured, is identical for every device of the cohort, and
is named by the SHA-256 of its canonical encoding (:func:`plan_digest`). Devices refuse a plan that would weaken the
policy pinned on them (:mod:`keyboard_app.device.policy`).
"""

from __future__ import annotations

import enum
import hashlib

import msgspec

PROTOCOL_VERSION = 2
"""What each version brought stands in docs/protocol.md, "Versions and upgrades"."""

NO_DP_GUARANTEE = "no DP guarantee"
"""The label of a task whose sums carry no noise."""


class TaskKind(enum.StrEnum):
    """What the secure sum is for."""

    TRAINING = "training"
    """A sum of updates, from which the next model is made."""
    EVALUATION = "evaluation"
    """A model is judged before anybody ranks with it: histograms of its scores by label; nothing is trained."""
    ANALYTICS = "analytics"
    """Usage is counted; nothing is trained or scored."""
    FEATURE_COUNTS = "feature_counts"
    """First sum of FSVRG (arXiv 1610.02527, algorithm 4): how many examples and devices hold each feature."""
    GRADIENT = "gradient"
    """Second sum: the gradient of the whole objective at a model."""
    DESCENT = "descent"
    """Third sum: the updates of one pass of variance-reduced steps each, from which the next model is made."""

    @property
    def reports_usage(self) -> bool:
        """Whether what the log has not reported yet is counted in its rounds."""
        return self in (TaskKind.TRAINING, TaskKind.ANALYTICS, TaskKind.DESCENT)


class VarianceReduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass of FSVRG over a device's examples (arXiv 1610.02527, algorithm 4)."""

    step: float
    """h, > 0; a device with n_k examples takes steps of h / n_k."""
    l2: float
    """Ridge of the objective, >= 0."""
    anchor_digest: str
    """SHA-256 (hex) of the :class:`federated_protocol.messages.Anchor` that goes with the plan's model."""


class TrainingSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Local training, ClientUpdate of federated averaging (arXiv 1602.05629, algorithm 1)."""

    epochs: int
    """E, passes over the device's own examples, 1..50."""
    batch_size: int
    """B, examples a step; the model file fixes it (padding has example weight 0)."""
    learning_rate: float
    """Step size of local SGD, > 0."""
    weight_cap: int
    """W: a device's weight is min(n_k, W) / W, in (0, 1], so that no device dominates."""
    proximal: float = 0.0
    """mu of FedProx, 0 switches it off."""
    variance_reduction: VarianceReduction | msgspec.UnsetType = msgspec.UNSET
    """In a descent, which takes its steps by this alone; no other plan has this field."""


class SubsetBlock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``chosen`` of the next ``length`` coordinates travel, drawn anew for every round and the same for all devices."""

    length: int
    chosen: int
    """1..length; the decoded sum is scaled by length / chosen, which keeps it unbiased."""


class CodecSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a float update becomes integers modulo 2^bits (docs/architecture.md, "The update codec").

    ``bits`` is solved from the other values and the largest possible cohort by
    :func:`federated_protocol.update_codec.modulus.solve_bits`; it travels so that both ends can check it.
    """

    dimension: int
    """Number of model weights d; nothing is padded, so :attr:`sent` coordinates travel."""
    clip: float
    """Largest L2 norm of what travels (the chosen coordinates), before weighting, > 0."""
    step: float
    """Width of one quantisation level, in units of the update, > 0."""
    rotation_seed: bytes
    """32 bytes shared by the cohort: signs of the randomised Hadamard rotation; empty for no rotation."""
    weight_levels: int
    """Levels of the example weight: round(w * weight_levels) is summed."""
    bits: int
    """Width of an update coordinate on the wire, 2..32."""
    count_bits: int
    """Width of an exact counter, and of the weight, on the wire, 2..32; they have this modulus of their own."""
    count_cap: int
    """Largest value one device adds to a counter; larger ones are capped, so that the cohort's sum cannot wrap."""
    subset: tuple[SubsetBlock, ...] = ()
    """Blocks that add up to the dimension; empty: every coordinate travels."""
    subset_seed: bytes = b""
    """32 bytes shared by the cohort: which coordinates of each block travel; empty without a subset."""
    noise_sixteenths: int = 0
    """Scale of the discrete Gaussian noise each device adds, in 1/16 of a step; 0 for none."""

    @property
    def sent(self) -> int:
        """Coordinates that travel."""
        return sum(block.chosen for block in self.subset) if self.subset else self.dimension


class PrivacySetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Assumptions under which a task's noise is charged (docs/privacy.md)."""

    delta: float
    """Probability at which epsilon is stated."""
    corrupt_fraction: float
    """Share of the cohort whose noise is not counted on, [0, 1)."""


class MetricSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One (arm, model version) whose lines, offers and clicks are counted."""

    arm: str
    version: int


class ModelReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published model by number and content."""

    version: int
    digest: str
    """SHA-256 (hex) of its artifact."""


class MetricSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exact counters that ride in the secure vector, in the order given by :func:`counter_names`.

    ``score_edges`` are the inner edges of the histogram bins over the ranker's logit; clicks and offers are counted
    by bin (offers weighted by inverse propensity, times ``propensity_scale``, rounded), so that the coordinator can
    calibrate the next trigger threshold without seeing any score.
    """

    slots: tuple[MetricSlot, ...]
    score_edges: tuple[float, ...]
    propensity_scale: int = 8
    usage_clip: int = 64
    """A device's offers under one slot enter the sums for intervals up to this many over all rounds, see
    :data:`USAGE_MOMENTS`; squares stay below ``usage_clip**2``."""
    exact: bool = True
    """False in a task with differential privacy: nothing is counted but, in analytics, under the noise
    (:mod:`federated_protocol.privacy.estimates`)."""
    paired: bool = False
    """In an evaluation: the same offers are scored by the plan's ``baseline`` as well."""


class Adversary(enum.StrEnum):
    """What the coordinator may do, beside colluding with the corrupt participants."""

    HONEST_BUT_CURIOUS = "honest-but-curious"
    SEMI_MALICIOUS = "semi-malicious"
    """It may lie about who dropped out, and differently to different participants."""


class ThreatModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the graph of a cohort is solved for (:mod:`federated_protocol.secure_aggregation.parameters`)."""

    corrupt: float = 0.05
    """γ, share of participants that collude with the coordinator, [0, 0.5)."""
    dropout: float = 0.3
    """δ, share of participants that may vanish after they advertised keys, [0, 0.5]."""
    adversary: Adversary = Adversary.SEMI_MALICIOUS
    sigma: int = 80
    """σ: privacy fails with probability at most 2^-σ; 40 of the 80 in use are margin against grinding."""
    eta: int = 20
    """η: an honest round within the stated dropout fails with probability at most 2^-η."""


class AggregationSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Secure aggregation for this cohort (eprint 2017/281, 2020/704)."""

    smallest_aggregate: int
    """The round is abandoned when fewer masked inputs than this arrive; devices compare it with their own floor."""
    largest_cohort: int
    """Number of devices selected; the modulus is solved for it."""
    threat: ThreatModel = ThreatModel()
    """Who is defended against; devices compare it with what they pinned."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a device needs to know to take part in one round."""

    protocol_version: int
    task: str
    kind: TaskKind
    round: int
    attempt: int
    session: str
    model_version: int
    model_digest: str
    """SHA-256 (hex) of the model artifact the update starts from."""
    training: TrainingSetting
    codec: CodecSetting
    aggregation: AggregationSetting
    metrics: MetricSetting
    privacy: str = NO_DP_GUARANTEE
    """The label devices and dashboards show; it follows from ``noise``."""
    noise: PrivacySetting | None = None
    """None: the sums are exact and carry no guarantee."""
    baseline: ModelReference | None = None
    """In an evaluation: the model in the field, scored on the same offers."""


LOSS_CLIP = 0.25
"""Nats: a device reports by how much the judged model changes its mean log loss, clipped at this on both sides."""
LOSS_LEVELS = 64
"""Steps between no change and the clip. The rounded change is shifted up by this, because counters are not negative."""
LOSS_CHANGE = ("loss_change/devices", "loss_change/sum", "loss_change/squares")
"""Devices that scored any offer, their shifted changes, and the squares of the changes (unshifted): an interval for
the mean change at the level of devices follows."""


USAGE_MOMENTS = ("n", "c", "m", "cc", "mm", "cm")
"""Six sums a slot, from which a click-through rate gets an interval at the level of people: the number of devices, and
the sums of c, m, c², m² and c·m, where c and m are one device's clicks and offers under the slot *over all rounds*,
clipped together at ``usage_clip`` offers. A device reports by how much its six terms have grown since its last report,
so that the sums over rounds are the sums over devices, with no row about anybody."""


def counter_names(metrics: MetricSetting) -> tuple[str, ...]:
    """Name every exact counter, in the order in which it stands in the secure vector.

    First ``examples`` and ``devices_with_examples``; ``devices/{arm}`` for each arm of the slots; then per slot
    ``{arm}/{version}/`` with ``lines``, ``offers``, ``clicks`` and :data:`USAGE_MOMENTS`; then
    ``clicks_by_score/{bin}`` and ``offers_by_score/{bin}`` for ``len(score_edges) + 1`` bins, lowest scores first; when
    ``paired``, the same under the baseline, with ``baseline_`` in front, and :data:`LOSS_CHANGE`. Empty when nothing
    may be counted exactly.
    """
    if not metrics.exact:
        return ()
    names = ["examples", "devices_with_examples"]
    names += [f"devices/{arm}" for arm in arms_of(metrics)]
    for slot in metrics.slots:
        names += [f"{slot.arm}/{slot.version}/{what}" for what in ("lines", "offers", "clicks", *USAGE_MOMENTS)]
    bins = len(metrics.score_edges) + 1
    names += [f"clicks_by_score/{b}" for b in range(bins)]
    names += [f"offers_by_score/{b}" for b in range(bins)]
    if metrics.paired:
        names += [f"baseline_{what}_by_score/{b}" for what in ("clicks", "offers") for b in range(bins)]
        names += LOSS_CHANGE
    return tuple(names)


def feature_counters(plan: Plan) -> int:
    """How many exact counters follow the named ones: ``[examples that hold it | devices that do]`` by feature."""
    return 2 * plan.codec.dimension if plan.kind is TaskKind.FEATURE_COUNTS else 0


def number_of_counters(plan: Plan) -> int:
    """Exact counters of the plan's vector: those of :func:`counter_names`, then :func:`feature_counters`."""
    return len(counter_names(plan.metrics)) + feature_counters(plan)


def arms_of(metrics: MetricSetting) -> tuple[str, ...]:
    """The arms of the slots, each once, in order of appearance."""
    return tuple(dict.fromkeys(slot.arm for slot in metrics.slots))


def plan_digest(plan: Plan) -> bytes:
    """SHA-256 of the canonical (deterministic MessagePack) encoding of the plan, 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode(plan, order="deterministic")).digest()
