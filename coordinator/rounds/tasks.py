"""What rounds are for: training makes model versions, evaluation judges them before anybody ranks, analytics count.

A task says when its next round may open, what its plan asks, and what becomes of the opened sum; everything between is
the same for all of them (:mod:`coordinator.rounds.driver`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from coordinator.aggregation import make_optimizer
from coordinator.experiments.click_through import metric_slots
from coordinator.privacy.ledger import affords, overspends
from coordinator.privacy.planning import plan_usage_privacy
from coordinator.releases.evaluation_gate import settle
from coordinator.releases.model_store import PublishedModel, current_model, published_model
from coordinator.releases.rollout import awaiting_evaluation
from coordinator.rounds import planning
from coordinator.rounds.publication import publish
from coordinator.rounds.states import RoundEvent
from coordinator.rounds.transitions import take_all
from coordinator.settings import Settings
from coordinator.storage import Database, round_store
from coordinator.storage.round_store import Round
from federated_protocol.plan import MetricSetting, Plan, TaskKind
from federated_protocol.randomness import ByteSource

LONGEST_EVALUATION_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a round will ask of its cohort."""

    base: PublishedModel
    """The model it starts from, or judges."""
    plan: Plan


class RoundTask(Protocol):
    """One kind of rounds of a deployment; holds no state."""

    @property
    def name(self) -> str:
        """Stands in plans and in the table of rounds; at most one round of a task runs at a time."""
        ...

    @property
    def kind(self) -> TaskKind:
        """What its sums are for, in the end."""
        ...

    @property
    def pause_s(self) -> float:
        """Seconds between the end of a round and the next selection."""
        ...

    @property
    def pipelined(self) -> bool:
        """Whether the next selection may open while a round is under way: nothing in that round can forbid it."""
        ...

    def next_sum(self, connection: Connection) -> TaskKind:
        """What the plan of its next round asks for."""
        ...

    def wanted(self, connection: Connection, under_way: int = 0) -> bool:
        """Whether a round may open beside ``under_way`` others, apart from the pause and from the kill switch."""
        ...

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """The plan for the ``devices`` of a cohort; None when there is nothing to do now."""
        ...

    def affords(self, connection: Connection, plan: Plan, cohorts: int) -> bool:
        """Whether the privacy budget bears a release of each of so many cohorts."""
        ...

    def finish(self, database: Database, cohorts: Sequence[Round], now: float) -> int | None:
        """Use the opened sums of a round and end it; the version it is about, or None when it is to be abandoned."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """Improves the newest model; with the gate on, not before the newest was judged."""

    settings: Settings

    @property
    def name(self) -> str:
        """The task of the settings."""
        return self.settings.task

    @property
    def kind(self) -> TaskKind:
        """Training."""
        return TaskKind.TRAINING

    @property
    def pause_s(self) -> float:
        """As the settings say."""
        return self.settings.rounds.pause_s

    @property
    def pipelined(self) -> bool:
        """Unless a round's end decides whether another one opens: by the gate's verdict, or by what it has spent."""
        settings = self.settings
        decides = settings.releases.evaluation_gate or settings.privacy.noise_multiplier > 0
        return settings.rounds.pipelined and not decides

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, under_way: int = 0) -> bool:
        """Until enough rounds were published or the budget is spent."""
        limit = self.settings.rounds.max_rounds
        if limit and round_store.published_count(connection, self.name) + under_way >= limit:
            return False
        if self.settings.releases.evaluation_gate and awaiting_evaluation(connection) is not None:
            return False
        return not overspends(connection, self.settings)

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Train on top of the newest version."""
        base = current_model(connection)
        dimension = planning.dimension_of(connection, base.version)
        return Prepared(base, planning.make_plan(self.settings, row, base, dimension, cohort=devices, rng=rng))

    def affords(self, connection: Connection, plan: Plan, cohorts: int) -> bool:
        """By the ledger."""
        return affords(connection, self.settings, plan, cohorts)

    def finish(self, database: Database, cohorts: Sequence[Round], now: float) -> int | None:
        """Publish the next version."""
        setting = self.settings.optimizer
        return publish(
            database, self.settings, cohorts, now, optimizer=make_optimizer(setting), prior_weight=setting.prior_weight
        )


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """Judges the version that awaits it against the one it was made from, on offers neither was trained on."""

    settings: Settings

    @property
    def name(self) -> str:
        """The task of the settings, and what is done with it."""
        return self.settings.evaluation_task

    @property
    def kind(self) -> TaskKind:
        """Evaluation."""
        return TaskKind.EVALUATION

    @property
    def pause_s(self) -> float:
        """Short: a version is waiting."""
        return min(self.settings.rounds.pause_s, LONGEST_EVALUATION_PAUSE_S)

    @property
    def pipelined(self) -> bool:
        """No: a version is judged once."""
        return False

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, under_way: int = 0) -> bool:
        """While a version awaits its evaluation."""
        return awaiting_evaluation(connection) is not None

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Score both models."""
        candidate = awaiting_evaluation(connection)
        if candidate is None:
            return None
        judged = published_model(connection, candidate)
        metrics = MetricSetting((), self.settings.score_edges, self.settings.metrics.propensity_scale, paired=True)
        plan = planning.make_counting_plan(
            self.settings, row, devices, TaskKind.EVALUATION, judged, planning.dimension_of(connection, candidate), rng,
            metrics=metrics, baseline=published_model(connection, judged.parent),
        )  # fmt: skip
        return Prepared(judged, plan)

    def affords(self, connection: Connection, plan: Plan, cohorts: int) -> bool:
        """Always: evaluations exist in tasks without a guarantee alone, see :func:`coordinator.settings.validate`."""
        return True

    def finish(self, database: Database, cohorts: Sequence[Round], now: float) -> int | None:
        """Let the version out, or withdraw it, in the transaction that ends the round."""
        version = cohorts[0].base_version
        with database.writing() as connection:
            if take_all(connection, cohorts, RoundEvent.PASSED, now, published_version=version):
                settle(connection, self.settings, version, now)
        return version


@dataclass(frozen=True, slots=True)
class AnalyticsTask:
    """Counts lines, offers and clicks by arm and version, more often than models are made."""

    settings: Settings

    @property
    def name(self) -> str:
        """The task of the settings, and what is done with it."""
        return self.settings.analytics_task

    @property
    def kind(self) -> TaskKind:
        """Analytics."""
        return TaskKind.ANALYTICS

    @property
    def pause_s(self) -> float:
        """As the settings say."""
        return self.settings.metrics.analytics_every_s

    @property
    def pipelined(self) -> bool:
        """No: usage is counted at intervals."""
        return False

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, under_way: int = 0) -> bool:
        """Until the budget is spent."""
        return not overspends(connection, self.settings, usage=True)

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Count the newest versions."""
        newest = current_model(connection)
        slots = metric_slots(newest.version, self.settings.metrics.newest_versions)
        metrics = MetricSetting(slots, (), usage_clip=planning.usage_clip(self.settings))
        dimension = planning.dimension_of(connection, newest.version)
        plan = planning.make_counting_plan(
            self.settings, row, devices, TaskKind.ANALYTICS, newest, dimension, rng, metrics=metrics
        )
        return Prepared(newest, plan_usage_privacy(self.settings, plan, rng))

    def affords(self, connection: Connection, plan: Plan, cohorts: int) -> bool:
        """By the ledger, which training shares."""
        return affords(connection, self.settings, plan, cohorts)

    def finish(self, database: Database, cohorts: Sequence[Round], now: float) -> int | None:
        """The counters, or estimates, are stored with the opened sums; nothing else is made of them."""
        with database.writing() as connection:
            take_all(connection, cohorts, RoundEvent.PASSED, now)
        return cohorts[0].base_version
