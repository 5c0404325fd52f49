"""The plan of a round, made once when its cohort is known, and what follows from a plan."""

from __future__ import annotations

import functools
import hashlib
import math

import msgspec
from sqlalchemy import Connection

from coordinator.privacy.planning import plan_noise, plan_privacy
from coordinator.releases.model_store import PublishedModel, load_artifact
from coordinator.rounds import versions
from coordinator.rounds.subset import coordinates_sent, subset_blocks
from coordinator.settings import CodecTarget, Settings
from coordinator.storage.round_store import Round
from federated_protocol import wire
from federated_protocol.messages import Phase
from federated_protocol.plan import (
    LOSS_LEVELS,
    AggregationSetting,
    CodecSetting,
    MetricSetting,
    MetricSlot,
    ModelReference,
    Plan,
    SubsetBlock,
    TaskKind,
    number_of_counters,
)
from federated_protocol.randomness import ByteSource
from federated_protocol.secure_aggregation import GraphParameters, RoundBinding, RunContext
from federated_protocol.update_codec import layout, solve_codec
from federated_protocol.vector_layout import VectorLayout

SEED_BYTES = 32
LARGEST_USAGE_CLIP = 64


def make_plan(
    settings: Settings,
    row: Round,
    base: PublishedModel,
    dimension: int,
    cohort: int,
    rng: ByteSource,
    *,
    slots: tuple[MetricSlot, ...],
) -> Plan:
    """Say what ``cohort`` devices are asked to do on top of the model ``base`` with ``dimension`` weights."""
    aggregation = AggregationSetting(
        smallest_aggregate=settings.rounds.smallest_aggregate, largest_cohort=cohort, threat=settings.threat
    )
    noise = plan_noise(settings, coordinates_sent(settings.codec, dimension), aggregation)
    codec = make_codec(settings.codec, dimension, cohort, rng, noise)
    plan = Plan(
        protocol_version=row.protocol_version or versions.NEWEST,
        task=settings.task,
        kind=TaskKind.TRAINING,
        round=row.number,
        attempt=row.attempt,
        session=row.session,
        model_version=base.version,
        model_digest=base.digest,
        training=settings.training,
        codec=codec,
        aggregation=aggregation,
        metrics=MetricSetting(
            slots=slots,
            score_edges=settings.score_edges,
            propensity_scale=settings.metrics.propensity_scale,
            usage_clip=usage_clip(settings),
        ),
    )
    return plan_privacy(settings, plan)


def dimension_of(connection: Connection, version: int) -> int:
    """Number of weights d of a model version."""
    return len(load_artifact(connection, version)[0].weights) // 4


def usage_clip(settings: Settings) -> int:
    """Offers of a device that enter the six sums: so many that their square still fits into a counter."""
    return min(LARGEST_USAGE_CLIP, math.isqrt(settings.codec.largest_count))


def make_counting_plan(
    settings: Settings,
    row: Round,
    cohort: int,
    kind: TaskKind,
    model: PublishedModel,
    dimension: int,
    rng: ByteSource,
    *,
    metrics: MetricSetting,
    baseline: PublishedModel | None = None,
) -> Plan:
    """Ask the ``cohort`` devices of a cohort for counters alone; of the update, a single zero travels."""
    largest = max(settings.codec.largest_count, LOSS_LEVELS**2 if metrics.paired else 0)
    return Plan(
        protocol_version=row.protocol_version or versions.NEWEST,
        task=row.task,
        kind=kind,
        round=row.number,
        attempt=row.attempt,
        session=row.session,
        model_version=model.version,
        model_digest=model.digest,
        training=settings.training,
        codec=solve_codec(
            dimension=dimension,
            clip=settings.codec.clip,
            step=settings.codec.clip / 2,
            rotation_seed=b"",
            weight_levels=1,
            largest_cohort=cohort,
            count_bits=max(2, (cohort * largest).bit_length()),
            subset=(SubsetBlock(dimension, 1),),
            subset_seed=rng(SEED_BYTES),
        ),
        aggregation=AggregationSetting(
            smallest_aggregate=settings.rounds.smallest_aggregate, largest_cohort=cohort, threat=settings.threat
        ),
        metrics=metrics,
        baseline=None if baseline is None else ModelReference(baseline.version, baseline.digest),
    )


def make_codec(
    target: CodecTarget, dimension: int, cohort: int, rng: ByteSource, noise_sixteenths: int = 0
) -> CodecSetting:
    """The codec of a round for a model of ``dimension`` weights and at most ``cohort`` devices."""
    subset = subset_blocks(target, dimension)
    return solve_codec(
        dimension=dimension,
        clip=target.clip,
        step=target.step,
        rotation_seed=rng(SEED_BYTES) if target.rotate else b"",
        weight_levels=target.weight_levels,
        largest_cohort=cohort,
        count_bits=max(2, (cohort * target.largest_count).bit_length()),
        subset=subset,
        subset_seed=rng(SEED_BYTES) if subset else b"",
        noise_sixteenths=noise_sixteenths,
    )


def encode_plan(plan: Plan) -> bytes:
    """The canonical encoding, whose SHA-256 is the plan's digest."""
    return wire.encode(plan)


def digest(encoded: bytes) -> bytes:
    """SHA-256 of an encoded plan, 32 bytes; equals :func:`federated_protocol.plan.plan_digest` of the plan."""
    return hashlib.sha256(encoded).digest()


def decode_plan(data: bytes) -> Plan:
    """Read a stored plan; raises :class:`msgspec.ValidationError` when an older program version made it."""
    return msgspec.msgpack.decode(data, type=Plan)


@functools.lru_cache(maxsize=16)
def _run_context(plan: bytes, n: int, neighbours: int, threshold: int, root: bytes) -> RunContext:
    return RunContext(RoundBinding.of(decode_plan(plan)), GraphParameters(n, neighbours, threshold), root)


def run_context(row: Round) -> RunContext:
    """The run of secure aggregation of a round whose U1 is known: what every key and signature is bound to."""
    return _run_context(row.plan or b"", row.advertised or 0, row.neighbours or 0, row.threshold or 0, row.root or b"")


def binding_of(row: Round, phase: Phase) -> bytes:
    """What signatures over the messages of a phase cover, 32 bytes."""
    if phase is Phase.ADVERTISE:
        return RoundBinding.of(decode_plan(row.plan or b"")).digest
    return run_context(row).digest


def vector_layout(plan: Plan) -> VectorLayout:
    """Fields of the secure vector that this plan asks for."""
    return layout(plan.codec, number_of_counters(plan))
