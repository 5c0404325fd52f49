"""Settings of one coordinator: defaults, a TOML file, environment variables, options; in this order, last wins.

The TOML mirrors the structs below, e.g.::

    database_url = "sqlite:///coordinator.sqlite"
    authority_public_key = "c0ffee..."      # hex, see public.key of `authority init`

    [rounds]
    goal_count = 60
    minimum_count = 20

    [training]
    epochs = 2

Environment variables are ``COORDINATOR_`` and the path in upper case, joined by two underscores:
``COORDINATOR_ROUNDS__GOAL_COUNT=60``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from coordinator.errors import SettingsError
from federated_protocol.errors import ProtocolError
from federated_protocol.plan import ThreatModel, TrainingSetting
from federated_protocol.secure_aggregation import check_threat
from suggestion_model.types import Head

LARGEST_COHORT = 2_000
"""Devices of one secure aggregation, whose keys and shares one coordinator routes."""
LARGEST_GOAL = 20_000
"""Devices wanted in a round: a round's devices ask one coordinator, at most some 30 seconds apart."""


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
    """After this many published rounds no further one opens, whatever they summed; 0 is endless."""
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


def load_settings(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge defaults, the TOML file, ``COORDINATOR_*`` variables and options (``{"rounds.goal_count": 60}``).

    Raises
    ------
    SettingsError
        naming the setting and what it should be.
    """
    merged: dict[str, Any] = {}
    if path is not None:
        try:
            merged = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(f"cannot read the settings file {path}: {error.strerror}; check the path") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML ({error}); correct that line") from None
    for name, text in (environment or {}).items():
        if name.startswith("COORDINATOR_") and (path_text := name.removeprefix("COORDINATOR_").lower()):
            _put(merged, path_text.split("__"), parse_value(text))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(merged, dotted.split("."), value)
    if "authority_public_key" not in merged:
        raise SettingsError(
            "authority_public_key is not set: run `authority init DIR` and pass --authority-public-key DIR/public.key"
        )
    if isinstance(merged.get("training"), dict):
        defaults = msgspec.to_builtins(Settings(authority_public_key="").training)
        merged["training"] = {**defaults, **merged["training"]}
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}; see `coordinator serve --help` for the names") from None
    validate(settings)
    return settings


def validate(settings: Settings) -> None:
    """Check ranges and relations between settings; raises :class:`SettingsError` naming the first that is wrong."""
    try:
        key = settings.authority_key_bytes
    except ValueError:
        key = b""
    rounds, deadlines, codec, metrics = settings.rounds, settings.deadlines, settings.codec, settings.metrics
    fsvrg = settings.fsvrg
    checks = (
        (len(key) == 32, "authority_public_key must be 64 hexadecimal digits (see public.key of the authority)"),
        (rounds.smallest_aggregate >= 2, "rounds.smallest_aggregate must be at least 2: a sum of one is no sum"),
        (
            rounds.smallest_aggregate <= rounds.minimum_count <= rounds.goal_count,
            "rounds must satisfy smallest_aggregate <= minimum_count <= goal_count",
        ),
        (rounds.goal_count <= LARGEST_GOAL, f"rounds.goal_count must be at most {LARGEST_GOAL}"),
        (
            rounds.cohort_size == 0 or rounds.smallest_aggregate <= rounds.cohort_size <= LARGEST_COHORT,
            f"rounds.cohort_size must be 0 (never cut) or lie between smallest_aggregate and {LARGEST_COHORT}",
        ),
        (
            settings.most_selected <= LARGEST_COHORT
            or (rounds.cohort_size > 0 and 2 * rounds.minimum_count <= LARGEST_COHORT),
            f"rounds.goal_count with overselect must be at most {LARGEST_COHORT}: a cohort cannot be larger. Set "
            "rounds.cohort_size, and a rounds.minimum_count of at most half of it, to cut the round into cohorts",
        ),
        (0 < rounds.cohorts_needed <= 1, "rounds.cohorts_needed must be in (0, 1]"),
        (
            rounds.largest_deviation == 0 or rounds.largest_deviation > 1,
            "rounds.largest_deviation must be 0 (no check) or above 1",
        ),
        (1.0 <= rounds.overselect <= 2.0, "rounds.overselect must be between 1 and 2"),
        (rounds.max_rounds >= 0, "rounds.max_rounds must be 0 (endless) or positive"),
        (rounds.pause_s >= 0 and rounds.settle_s >= 0, "rounds.pause_s and rounds.settle_s must not be negative"),
        (0 <= rounds.keep_round_messages_s <= 3600, "rounds.keep_round_messages_s must be between 0 and 3600"),
        (
            all(value > 0 for value in msgspec.structs.astuple(deadlines) if not isinstance(value, bool)),
            "every deadline must be positive",
        ),
        (1 <= settings.training.epochs <= 50, "training.epochs must be between 1 and 50"),
        (settings.training.learning_rate > 0, "training.learning_rate must be positive"),
        (settings.training.batch_size >= 1, "training.batch_size must be positive"),
        (settings.training.weight_cap >= 1, "training.weight_cap must be positive"),
        (
            1 <= codec.weight_levels <= codec.largest_count < 2**20,
            "codec must satisfy 1 <= weight_levels <= largest_count < 2^20",
        ),
        (codec.most_sent >= 0, "codec.most_sent must be 0 (send all) or positive"),
        (
            len(codec.subset_block) in (0, 2) and all(value >= 0 for value in codec.subset_block),
            "codec.subset_block must be empty, or the first weight and the length of a block",
        ),
        (codec.clip > 0 and 0 < codec.step < codec.clip, "codec must satisfy 0 < step < clip"),
        (
            settings.privacy.noise_multiplier == 0 or settings.codec.rotate,
            "privacy.noise_multiplier needs codec.rotate: noise is calibrated for the rotated update",
        ),
        (0 <= settings.privacy.noise_multiplier < 1000, "privacy.noise_multiplier must be 0 (no noise) or positive"),
        (0 < settings.privacy.delta <= 1e-3, "privacy.delta must be positive and at most 0.001"),
        (settings.privacy.epsilon_budget > 0, "privacy.epsilon_budget must be positive"),
        (0 <= settings.privacy.corrupt_fraction < 1, "privacy.corrupt_fraction must be in [0, 1)"),
        (settings.optimizer.learning_rate > 0, "optimizer.learning_rate must be positive"),
        (settings.optimizer.prior_weight >= 0, "optimizer.prior_weight must not be negative"),
        (0 <= settings.optimizer.momentum < 1, "optimizer.momentum must be in [0, 1)"),
        (0 <= settings.optimizer.beta2 < 1, "optimizer.beta2 must be in [0, 1)"),
        (
            settings.algorithm == "fedavg" or settings.privacy.noise_multiplier == 0,
            "algorithm = fsvrg needs privacy.noise_multiplier = 0: features are counted exactly",
        ),
        (
            settings.training.variance_reduction is msgspec.UNSET,
            "training.variance_reduction is for plans: algorithm = fsvrg and the section fsvrg say what is meant",
        ),
        (fsvrg.step > 0 and fsvrg.l2 >= 0, "fsvrg.step must be positive, fsvrg.l2 not negative"),
        (
            1 <= fsvrg.weight_cap <= codec.largest_count and fsvrg.recount_every >= 0,
            "fsvrg.weight_cap must lie in 1..codec.largest_count, fsvrg.recount_every be 0 or positive",
        ),
        (
            0 < fsvrg.gradient_step < fsvrg.gradient_clip and 0 < fsvrg.update_step < fsvrg.update_clip,
            "fsvrg must satisfy 0 < gradient_step < gradient_clip and 0 < update_step < update_clip",
        ),
        (metrics.analytics_every_s >= 0, "metrics.analytics_every_s must not be negative"),
        (0 < metrics.usage_norm <= 100, "metrics.usage_norm must be positive and at most 100"),
        (metrics.newest_versions >= 1, "metrics.newest_versions must be positive"),
        (
            metrics.score_step > 0 and metrics.highest_score > metrics.lowest_score,
            "metrics must satisfy lowest_score < highest_score and score_step > 0",
        ),
        (0 < metrics.holdback_percent < 100, "metrics.holdback_percent must be in (0, 100)"),
        (0.5 <= metrics.confidence < 1, "metrics.confidence must be in [0.5, 1)"),
        (0 < metrics.keep_clicks < 1, "metrics.keep_clicks must be in (0, 1)"),
        (
            bool(settings.releases.rollout_stages)
            and all(0 < p <= 100 for p in settings.releases.rollout_stages)
            and list(settings.releases.rollout_stages) == sorted(set(settings.releases.rollout_stages)),
            "releases.rollout_stages must be rising percentages above 0, up to 100",
        ),
        (
            not settings.releases.evaluation_gate or settings.privacy.noise_multiplier == 0,
            "releases.evaluation_gate needs privacy.noise_multiplier = 0: an evaluation counts exactly, and a task "
            "with noise must not",
        ),
        (settings.releases.evaluation_devices >= 2, "releases.evaluation_devices must be at least 2"),
        (settings.releases.evaluation_patience_s > 0, "releases.evaluation_patience_s must be positive"),
        (1 <= len(settings.task) <= 40, "task must have 1 to 40 characters"),
        (settings.releases.stage_s > 0, "releases.stage_s must be positive"),
        (0 <= settings.unmasking.workers <= 1024, "unmasking.workers must be 0 (one a core) or up to 1024"),
        (
            settings.unmasking.executor != "cluster"
            or (
                settings.unmasking.scheduler.startswith("tls://")
                and all((settings.unmasking.authority, settings.unmasking.certificate, settings.unmasking.key))
            ),
            "unmasking.executor = cluster needs unmasking.scheduler = tls://HOST:PORT, authority, certificate and key",
        ),
        (settings.pace.poll_growth >= 0, "pace.poll_growth must not be negative"),
        (settings.pace.longest_poll_s > 0, "pace.longest_poll_s must be positive"),
        (0 < settings.pace.shortest_s <= settings.pace.longest_s, "pace must satisfy 0 < shortest_s <= longest_s"),
    )
    for holds, message in checks:
        if not holds:
            raise SettingsError(message)
    try:
        check_threat(settings.threat)
        formers = [bytes.fromhex(text) for text in settings.former_authority_keys]
    except ProtocolError as error:
        raise SettingsError(f"threat: {error}") from None
    except ValueError:
        formers = [b""]
    if any(len(former) != 32 for former in formers):
        raise SettingsError("former_authority_keys must each be 64 hexadecimal digits")


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        branch = tree.setdefault(name, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"settings: {name} is a single value, {'.'.join(path)} does not exist")
        tree = branch
    tree[path[-1]] = value


def parse_value(text: str) -> Any:
    """Read the text of a setting: true, false, a number, or a plain text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
