"""Training of the sparse trigger by FSVRG (arXiv 1610.02527, algorithm 4), in rounds that each open one secure sum.

A plan knows one sum, and a step of the algorithm is two after one of counts. So the rounds of this task take turns:

    feature_counts ─► gradient ─► descent ─► gradient ─► descent ─► ... ─► feature_counts ─► ...
                                  version 1              version 2

What is summed next follows from what is known at the newest version
(:class:`coordinator.aggregation.fsvrg.FsvrgState`), which lies beside it in the database: any process can go on, a
version that is rolled back to has its gradient still, and a round that is abandoned is simply asked for again. The
cohorts of the three need not be the same devices: counts enter as shares, gradient and update as means weighted by
examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import msgspec
import numpy as np
from sqlalchemy import Connection

from coordinator.aggregation import GateRejectedError, OptimizerState, agreeing_sums
from coordinator.aggregation.fsvrg import FsvrgState, HolderScaling
from coordinator.events import Event, log_failure
from coordinator.releases.model_store import (
    PublishedModel,
    current_model,
    load_artifact,
    set_optimizer_state,
    weights_of,
)
from coordinator.rounds import planning
from coordinator.rounds.publication import cohort_sum, leave_out, publish
from coordinator.rounds.states import RoundEvent
from coordinator.rounds.tasks import Prepared, TrainingTask, reported_slots
from coordinator.rounds.transitions import take_all
from coordinator.settings import Settings
from coordinator.storage import Database
from coordinator.storage.round_store import Round
from federated_protocol import wire
from federated_protocol.errors import CodecError
from federated_protocol.plan import MetricSetting, Plan, TaskKind, VarianceReduction
from federated_protocol.randomness import ByteSource

_NOTHING_NAMED = MetricSetting(slots=(), score_edges=())


def state_at(connection: Connection, version: int) -> FsvrgState:
    """What is known at a version."""
    return FsvrgState.of(OptimizerState.decode(load_artifact(connection, version)[1]))


def encoded_anchor(connection: Connection, version: int) -> bytes | None:
    """The anchor of a version as devices fetch it; None where there is none (yet)."""
    anchor = state_at(connection, version).anchor()
    return None if anchor is None else wire.encode(anchor)


@dataclass(frozen=True, slots=True)
class FsvrgTask(TrainingTask):
    """Improves the newest version of the trigger; whether a round may open is as for all training."""

    @property
    def follows(self) -> str | None:
        """Nothing: what a round sums follows from the one before it."""
        return None

    def next_sum(self, connection: Connection) -> TaskKind:
        """The one that is missing at the newest version."""
        known = state_at(connection, current_model(connection).version)
        return known.next_sum(self.settings.fsvrg.recount_every)

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Ask for the sum that is missing."""
        base = current_model(connection)
        return Prepared(base, _PLANS[self.next_sum(connection)](self.settings, connection, row, base, devices, rng))

    def finish(self, database: Database, cohorts: Sequence[Round], now: float) -> int | None:
        """Keep the sum beside the version, or publish the next version."""
        kind = planning.decode_plan(cohorts[0].plan or b"").kind
        return _ENDS[kind](database, self.settings, cohorts, now)


# -- plans ---------------------------------------------------------------------------------------------------------


def _plan_counts(
    settings: Settings, connection: Connection, row: Round, base: PublishedModel, devices: int, rng: ByteSource
) -> Plan:
    dimension = planning.dimension_of(connection, base.version)
    return planning.make_counting_plan(
        settings, row, devices, TaskKind.FEATURE_COUNTS, base, dimension, rng, metrics=_NOTHING_NAMED
    )


def _plan_gradient(
    settings: Settings, connection: Connection, row: Round, base: PublishedModel, devices: int, rng: ByteSource
) -> Plan:
    setting = _sparse(settings, settings.fsvrg.gradient_clip, settings.fsvrg.gradient_step)
    dimension = planning.dimension_of(connection, base.version)
    plan = planning.make_plan(setting, row, base, dimension, devices, rng, slots=())
    return msgspec.structs.replace(plan, kind=TaskKind.GRADIENT, metrics=_NOTHING_NAMED)


def _plan_descent(
    settings: Settings, connection: Connection, row: Round, base: PublishedModel, devices: int, rng: ByteSource
) -> Plan:
    fsvrg = settings.fsvrg
    setting = _sparse(settings, fsvrg.update_clip, fsvrg.update_step)
    dimension = planning.dimension_of(connection, base.version)
    slots = reported_slots(connection, settings, base.version)
    plan = planning.make_plan(setting, row, base, dimension, devices, rng, slots=slots)
    anchor = hashlib.sha256(encoded_anchor(connection, base.version) or b"").hexdigest()
    reduction = VarianceReduction(step=fsvrg.step, l2=fsvrg.l2, anchor_digest=anchor)
    training = msgspec.structs.replace(plan.training, variance_reduction=reduction)
    return msgspec.structs.replace(plan, kind=TaskKind.DESCENT, training=training)


def _sparse(settings: Settings, clip: float, step: float) -> Settings:
    """The settings with the codec and the weights of this algorithm; every coordinate travels."""
    codec = msgspec.structs.replace(settings.codec, clip=clip, step=step, subset_block=())
    training = msgspec.structs.replace(settings.training, weight_cap=settings.fsvrg.weight_cap)
    return msgspec.structs.replace(settings, codec=codec, training=training)


# -- ends ----------------------------------------------------------------------------------------------------------


def _keep_counts(database: Database, settings: Settings, cohorts: Sequence[Round], now: float) -> int | None:
    plan = planning.decode_plan(cohorts[0].plan or b"")
    counters = np.sum([cohort_sum(row).decoded.counters for row in cohorts], axis=0).astype(np.int64)
    examples, devices, *_ = counters
    if not examples:
        return None
    features = counters[-2 * plan.codec.dimension :]
    return _keep(database, cohorts, now, lambda known: known.counted(np.concatenate([features, [examples, devices]])))


def _keep_gradient(database: Database, settings: Settings, cohorts: Sequence[Round], now: float) -> int | None:
    try:
        sums, left_out = agreeing_sums([cohort_sum(row) for row in cohorts], settings.rounds.largest_deviation)
        weight = sum(found.decoded.weight_sum for found in sums)
        if weight <= 0 or not all(found.possible for found in sums):
            raise GateRejectedError("no device contributed an example, or the mean is longer than the clip allows")
    except (GateRejectedError, CodecError) as error:
        log_failure(Event.SUM_FAILED, error, round=cohorts[0].number)
        return None
    mean = np.sum([found.decoded.update_sum for found in sums], axis=0) / weight
    with database.reading() as connection:
        weights = weights_of(load_artifact(connection, cohorts[0].base_version)[0])
    gradient = mean + settings.fsvrg.l2 * weights
    return _keep(database, cohorts, now, lambda known: replace(known, gradient=gradient), left_out)


def _keep(
    database: Database,
    cohorts: Sequence[Round],
    now: float,
    learn: Callable[[FsvrgState], FsvrgState],
    left_out: frozenset[int] = frozenset(),
) -> int:
    """End the round, and what it told is known at its base version: both or neither."""
    base = cohorts[0].base_version
    with database.writing() as connection:
        kept = [row for place, row in enumerate(cohorts) if place not in left_out]
        if take_all(connection, kept, RoundEvent.PASSED, now):
            leave_out(connection, cohorts, left_out, now)
            set_optimizer_state(connection, base, learn(state_at(connection, base)).stored().encode())
    return base


_Planner = Callable[[Settings, Connection, Round, PublishedModel, int, ByteSource], Plan]
_PLANS: Mapping[TaskKind, _Planner] = MappingProxyType(
    {
        TaskKind.FEATURE_COUNTS: _plan_counts,
        TaskKind.GRADIENT: _plan_gradient,
        TaskKind.DESCENT: _plan_descent,
    }
)
_ENDS: Mapping[TaskKind, Callable[[Database, Settings, Sequence[Round], float], int | None]] = MappingProxyType(
    {
        TaskKind.FEATURE_COUNTS: _keep_counts,
        TaskKind.GRADIENT: _keep_gradient,
        TaskKind.DESCENT: partial(publish, optimizer=HolderScaling()),
    }
)
