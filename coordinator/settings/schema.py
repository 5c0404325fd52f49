"""Every setting of a coordinator: its section, type, default and meaning, and what follows from several."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from federated_protocol.plan import ThreatModel, TrainingSetting
from suggestion_model.types import Head


class _Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every group of settings."""


class RoundSettings(_Group, frozen=True):
    """Selection and lifetime of rounds."""

    goal_count: int = 50
    """Devices wanted in the sum."""
    minimum_count: int = 30
    """A selection that ends with fewer devices is abandoned."""
    cohort_size: int = 200
    """A larger selection is cut into cohorts of at most so many devices, each summed by itself, where each can still
    have ``minimum_count``; 0 never cuts."""
    cohorts_needed: float = 0.5
    """Share of a round's cohorts whose sums must be opened; with fewer the round is abandoned."""
    largest_deviation: float = 3.0
    """A cohort whose update is so many times farther from the cohorts' median than the median cohort is left out of
    the average; 0 leaves none out. Works from four cohorts on."""
    pipelined: bool = True
    """Open the next selection while the round it follows still collects: with the evaluation gate, trainings and
    evaluations by turns. Not where the pause is longer than a selection may last."""
    overselect: float = 1.3
    """Devices selected for one wanted (arXiv 1902.01046, section 9: 6-10 % drop out)."""
    smallest_aggregate: int = 20
    """No sum over fewer masked inputs is ever opened; devices compare it with their own floor."""
    max_rounds: int = 0
    """After so many rounds that made a version no further one opens; 0 is endless."""
    pause_s: float = 5.0
    """Between the end of a round and the next selection."""
    settle_s: float = 5.0
    """Once the goal has joined, selection closes after this long without a further check-in."""
    keep_round_messages_s: float = 3600.0
    """Participants and messages of a round are deleted this long after it ended, at most an hour."""


class DeadlineSettings(_Group, frozen=True):
    """Longest duration of each phase, seconds. A phase closes earlier when everybody answered, or when it lasted a
    multiple of what recent rounds needed."""

    selecting_s: float = 120.0
    advertise_s: float = 300.0
    """Includes local training: a device trains before it advertises."""
    share_s: float = 60.0
    masked_input_s: float = 60.0
    confirm_s: float = 60.0
    unmask_s: float = 60.0
    adaptive: bool = True
    """Let the phases after selection follow what recent rounds of the task needed; false always waits for the above."""
    shortest_s: float = 5.0
    """And never wait for less than this."""


class CodecTarget(_Group, frozen=True):
    """What the update codec should achieve; the widths in bits are solved from it for each cohort.

    The defaults cost no measurable quality against float32 in the clear: ``python -m benchmarks update_size``.
    """

    clip: float = 0.3
    """Largest L2 norm of one device's update; measured norms: median 0.05, nine in ten below 0.12."""
    step: float = 0.002
    """Width of one quantisation level."""
    most_sent: int = 240
    """Of a block of more weights, a random subset of so many travels, drawn anew for each round; 0 sends all."""
    subset_block: tuple[int, ...] = ()
    """First weight and length of that block, for a head of many weights of which a device moves few (hashed features).
    Empty for a head that every device moves whole, as the shipped one: all of it travels."""
    rotate: bool = True
    """Flatten with a randomised Hadamard rotation before rounding."""
    weight_levels: int = 256
    largest_count: int = 500
    """Most that one device adds to a counter; more is clipped, so that nobody dominates and counters stay narrow."""


class PrivacySettings(_Group, frozen=True):
    """Differential privacy of the task; off by default, and then everything says "no DP guarantee"."""

    noise_multiplier: float = 0.0
    """Scale of the sum's noise over what one device can change; 0 adds none. A round costs rho = 1 / (2 z^2)."""
    delta: float = 1e-6
    """Probability at which epsilon is stated; well below one over the number of devices."""
    epsilon_budget: float = 8.0
    """No round starts that would spend more than this over the life of the task."""
    corrupt_fraction: float = 0.05
    """Share of a cohort whose noise is not counted on."""


class OptimizerSettings(_Group, frozen=True):
    """Server optimiser, see :mod:`coordinator.aggregation.optimizers`."""

    name: Literal["average", "momentum", "adam", "yogi"] = "momentum"
    learning_rate: float = 15.0
    momentum: float = 0.5
    """beta_1 of momentum, Adam and Yogi."""
    beta2: float = 0.99
    epsilon: float = 1e-3
    prior_weight: float = 60.0
    """Shrinks the mean update as if devices of this total weight had reported no change."""


class FsvrgSettings(_Group, frozen=True):
    """With ``algorithm = "fsvrg"``: the trigger is trained by FSVRG (:mod:`coordinator.rounds.fsvrg`)."""

    step: float = 100.0
    """h; a device with n_k examples takes one pass of steps of h / n_k. Tuned on devices that held some 16,000 examples
    together; of fewer, a shorter one is learned."""
    l2: float = 1e-5
    """Ridge of the objective."""
    weight_cap: int = 256
    """A device's gradient and update weigh min(n_k, this)."""
    recount_every: int = 10
    """Features are counted anew after so many versions; 0 counts once."""
    gradient_clip: float = 1.0
    """Largest L2 norm of one device's mean gradient."""
    gradient_step: float = 0.0001
    """Width of one quantisation level of it."""
    update_clip: float = 20.0
    """Largest L2 norm of one device's update."""
    update_step: float = 0.01
    """Width of one quantisation level of it."""


class MetricSettings(_Group, frozen=True):
    """Exact counters and the calibration of the trigger threshold."""

    analytics_every_s: float = 0.0
    """Count usage in rounds of their own, so long after one another, beside training; 0 counts in training alone."""
    usage_norm: float = 32.0
    """With noise: largest L2 norm of what a device reports at once (an offer counts 1, a click 2, a line 1/8)."""
    newest_versions: int = 6
    """Treatment versions whose clicks are counted at the same time."""
    holdback_percent: float = 5.0
    """Share of devices that keep ranking with v0, as devices assign themselves; for the sample-ratio check."""
    confidence: float = 0.95
    """Level of every interval and confidence sequence."""
    lowest_score: float = -8.0
    highest_score: float = 6.0
    score_step: float = 0.5
    """Width of a histogram bin over the ranker's logit."""
    propensity_scale: int = 2
    keep_clicks: float = 0.9
    """Share of the clicks the calibrated threshold keeps."""
    history_decay: float = 0.8
    """Weight of a round's histograms relative to the next newer round's."""
    smallest_click_mass: float = 50.0
    """With fewer (weighted) clicks the threshold stays as it is."""


class PaceSettings(_Group, frozen=True):
    """When devices ask again: between rounds ("come back after", seconds), and inside one."""

    shortest_s: float = 0.5
    longest_s: float = 60.0
    poll_growth: float = 0.25
    """A device in a phase asks again after this multiple of its age: a larger one saves bytes and costs time."""
    longest_poll_s: float = 2.0
    """And after this at the latest."""


class UnmaskingSettings(_Group, frozen=True):
    """What opens sums."""

    executor: Literal["processes", "threads", "cluster"] = "processes"
    """Expands masks: worker processes, threads, which need less memory and gain little, or a Dask cluster by address.
    Small sums need none of them."""
    workers: int = 0
    """So many processes or threads; 0 is one a core."""
    scheduler: str = ""
    """Of the cluster: ``tls://HOST:PORT``."""
    authority: str = ""
    """File with the certificate that signed those of the cluster and ours."""
    certificate: str = ""
    key: str = ""
    """Files with this coordinator's certificate and its private key, both PEM."""


class OperatorSettings(_Group, frozen=True):
    """Who may read reports; decisions always need an account."""

    public_reports: bool = False
    """Let whoever reaches the port read reports without signing in: for demos, or behind a proxy that asks."""


class ReleaseSettings(_Group, frozen=True):
    """Signed releases and their rollout."""

    keys: str = ""
    """The online folder of ``coordinator keys make``; empty serves unsigned models only."""
    rollout_stages: tuple[float, ...] = (100.0,)
    """Percentages of devices a new version is told to, one stage after the other."""
    stage_s: float = 86_400.0
    """Seconds a version stays in a stage, unless it harms."""
    evaluation_gate: bool = False
    """Judge a new version on offers no training has seen, in a round of its own, before the first device ranks with
    it. Needs a task without noise. ``coordinator init`` switches it on."""
    evaluation_devices: int = 20
    """Devices whose offers must be in that sum; with fewer it is asked again."""
    evaluation_patience_s: float = 86_400.0
    """A version that could not be judged for so long is withdrawn."""
    automatic_rollback: bool = True
    """Withdraw a version whose click-through or clicks fell, by the confidence sequence."""


class Settings(_Group, frozen=True):
    """Everything a coordinator needs to know.

    ``authority_public_key`` is the hex of the enrolment authority's Ed25519 public key (32 bytes).
    """

    authority_public_key: str
    database_url: str = "sqlite:///coordinator.sqlite"
    task: str = "query-suggestions"
    allow_insecure_demo: bool = False
    """Accept certificates marked INSECURE DEMO."""
    former_authority_keys: tuple[str, ...] = ()
    """Further authority keys whose certificates count, while certificates move to a new key."""
    trust_list: str = ""
    """File with the authority's newest trust list (`authority trust`): keys, their ends, revocations; read at each
    check-in and passed on to devices. Empty for none."""
    high_water: str = ""
    """File of what must never fall: versions used, privacy spent; kept apart from backups. Empty: ``versions.json``
    beside the release keys, or else in the folder of an SQLite database."""
    rounds: RoundSettings = RoundSettings()
    threat: ThreatModel = ThreatModel()
    """What the graph of a cohort is solved for; devices pin limits of their own."""
    deadlines: DeadlineSettings = DeadlineSettings()
    training: TrainingSetting = TrainingSetting(epochs=5, batch_size=16, learning_rate=0.02, weight_cap=16)
    codec: CodecTarget = CodecTarget()
    privacy: PrivacySettings = PrivacySettings()
    algorithm: Literal["fedavg", "fsvrg"] = "fedavg"
    """What is trained, and how: the ranker by federated averaging, or the trigger by FSVRG. Fixed for a database."""
    fsvrg: FsvrgSettings = FsvrgSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    metrics: MetricSettings = MetricSettings()
    pace: PaceSettings = PaceSettings()
    unmasking: UnmaskingSettings = UnmaskingSettings()
    releases: ReleaseSettings = ReleaseSettings()
    operators: OperatorSettings = OperatorSettings()

    @property
    def authority_key_bytes(self) -> bytes:
        """The authority's public key, 32 bytes."""
        return bytes.fromhex(self.authority_public_key)

    @property
    def authority_keys(self) -> tuple[bytes, ...]:
        """All authority keys that certificates may be signed with, 32 bytes each, before any trust list."""
        return (self.authority_key_bytes, *(bytes.fromhex(key) for key in self.former_authority_keys))

    @property
    def head(self) -> Head:
        """Which of the bundle's models this deployment trains."""
        return Head.TRIGGER if self.algorithm == "fsvrg" else Head.RANKER

    @property
    def evaluation_task(self) -> str:
        """The task whose rounds judge this task's versions."""
        return f"{self.task}/evaluation"

    @property
    def analytics_task(self) -> str:
        """The task whose rounds only count usage."""
        return f"{self.task}/analytics"

    @property
    def counting_tasks(self) -> tuple[str, str]:
        """The tasks that count usage; a device reports each line, offer and click in one of them."""
        return self.task, self.analytics_task

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all tasks that a deployment with these settings may run."""
        return self.task, self.evaluation_task, self.analytics_task

    @property
    def most_selected(self) -> int:
        """Devices selected for a round at most: the goal times the over-selection, rounded up."""
        return math.ceil(self.rounds.goal_count * self.rounds.overselect - 1e-9)

    @property
    def score_edges(self) -> tuple[float, ...]:
        """Inner edges of the score histograms, ascending."""
        metrics = self.metrics
        count = round((metrics.highest_score - metrics.lowest_score) / metrics.score_step) + 1
        return tuple(metrics.lowest_score + i * metrics.score_step for i in range(count))
