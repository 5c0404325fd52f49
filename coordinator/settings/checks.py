"""What settings must be: the range of each, and what they must be to one another."""

from __future__ import annotations

import msgspec

from coordinator.errors import SettingsError
from coordinator.settings.schema import Settings
from federated_protocol.errors import ProtocolError
from federated_protocol.secure_aggregation import check_threat

LARGEST_COHORT = 2_000
"""Devices of one secure aggregation, whose keys and shares one coordinator routes."""
LARGEST_GOAL = 20_000
"""Devices wanted in a round: a round's devices ask one coordinator, at most some 30 seconds apart."""

_Checks = tuple[tuple[bool, str], ...]
"""Whether something holds, and what is said when it does not."""


def validate(settings: Settings) -> None:
    """Check ranges and relations between settings; raises :class:`SettingsError` naming the first that is wrong."""
    for section in (_keys, _rounds, _training, _codec, _privacy, _optimizer, _fsvrg, _metrics, _releases, _operation):
        for holds, message in section(settings):
            if not holds:
                raise SettingsError(message)
    try:
        check_threat(settings.threat)
    except ProtocolError as error:
        raise SettingsError(f"threat: {error}") from None


def _keys(settings: Settings) -> _Checks:
    return (
        (
            _is_key(settings.authority_public_key),
            "authority_public_key must be 64 hexadecimal digits (see public.key of the authority)",
        ),
        (
            all(_is_key(former) for former in settings.former_authority_keys),
            "former_authority_keys must each be 64 hexadecimal digits",
        ),
    )


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


def _rounds(settings: Settings) -> _Checks:
    rounds, deadlines = settings.rounds, settings.deadlines
    return (
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
    )


def _training(settings: Settings) -> _Checks:
    training = settings.training
    return (
        (1 <= training.epochs <= 50, "training.epochs must be between 1 and 50"),
        (training.learning_rate > 0, "training.learning_rate must be positive"),
        (training.batch_size >= 1, "training.batch_size must be positive"),
        (training.weight_cap >= 1, "training.weight_cap must be positive"),
        (
            training.variance_reduction is msgspec.UNSET,
            "training.variance_reduction is for plans: algorithm = fsvrg and the section fsvrg say what is meant",
        ),
        (1 <= len(settings.task) <= 40, "task must have 1 to 40 characters"),
    )


def _codec(settings: Settings) -> _Checks:
    codec = settings.codec
    return (
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
    )


def _privacy(settings: Settings) -> _Checks:
    privacy = settings.privacy
    noiseless = privacy.noise_multiplier == 0
    return (
        (
            noiseless or settings.codec.rotate,
            "privacy.noise_multiplier needs codec.rotate: noise is calibrated for the rotated update",
        ),
        (0 <= privacy.noise_multiplier < 1000, "privacy.noise_multiplier must be 0 (no noise) or positive"),
        (0 < privacy.delta <= 1e-3, "privacy.delta must be positive and at most 0.001"),
        (privacy.epsilon_budget > 0, "privacy.epsilon_budget must be positive"),
        (0 <= privacy.corrupt_fraction < 1, "privacy.corrupt_fraction must be in [0, 1)"),
        (
            noiseless or settings.algorithm == "fedavg",
            "algorithm = fsvrg needs privacy.noise_multiplier = 0: features are counted exactly",
        ),
        (
            noiseless or not settings.releases.evaluation_gate,
            "releases.evaluation_gate needs privacy.noise_multiplier = 0: an evaluation counts exactly, and a task "
            "with noise must not",
        ),
    )


def _optimizer(settings: Settings) -> _Checks:
    optimizer = settings.optimizer
    return (
        (optimizer.learning_rate > 0, "optimizer.learning_rate must be positive"),
        (optimizer.prior_weight >= 0, "optimizer.prior_weight must not be negative"),
        (0 <= optimizer.momentum < 1, "optimizer.momentum must be in [0, 1)"),
        (0 <= optimizer.beta2 < 1, "optimizer.beta2 must be in [0, 1)"),
    )


def _fsvrg(settings: Settings) -> _Checks:
    fsvrg = settings.fsvrg
    return (
        (fsvrg.step > 0 and fsvrg.l2 >= 0, "fsvrg.step must be positive, fsvrg.l2 not negative"),
        (
            1 <= fsvrg.weight_cap <= settings.codec.largest_count and fsvrg.recount_every >= 0,
            "fsvrg.weight_cap must lie in 1..codec.largest_count, fsvrg.recount_every be 0 or positive",
        ),
        (
            0 < fsvrg.gradient_step < fsvrg.gradient_clip and 0 < fsvrg.update_step < fsvrg.update_clip,
            "fsvrg must satisfy 0 < gradient_step < gradient_clip and 0 < update_step < update_clip",
        ),
    )


def _metrics(settings: Settings) -> _Checks:
    metrics = settings.metrics
    return (
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
    )


def _releases(settings: Settings) -> _Checks:
    releases = settings.releases
    return (
        (
            bool(releases.rollout_stages)
            and all(0 < percent <= 100 for percent in releases.rollout_stages)
            and list(releases.rollout_stages) == sorted(set(releases.rollout_stages)),
            "releases.rollout_stages must be rising percentages above 0, up to 100",
        ),
        (releases.evaluation_devices >= 2, "releases.evaluation_devices must be at least 2"),
        (releases.evaluation_patience_s > 0, "releases.evaluation_patience_s must be positive"),
        (releases.stage_s > 0, "releases.stage_s must be positive"),
    )


def _operation(settings: Settings) -> _Checks:
    unmasking, pace = settings.unmasking, settings.pace
    return (
        (0 <= unmasking.workers <= 1024, "unmasking.workers must be 0 (one a core) or up to 1024"),
        (
            unmasking.executor != "cluster"
            or (
                unmasking.scheduler.startswith("tls://")
                and all((unmasking.authority, unmasking.certificate, unmasking.key))
            ),
            "unmasking.executor = cluster needs unmasking.scheduler = tls://HOST:PORT, authority, certificate and key",
        ),
        (pace.poll_growth >= 0, "pace.poll_growth must not be negative"),
        (pace.longest_poll_s > 0, "pace.longest_poll_s must be positive"),
        (0 < pace.shortest_s <= pace.longest_s, "pace must satisfy 0 < shortest_s <= longest_s"),
    )
