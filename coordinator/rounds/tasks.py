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
from coordinator.releases.rollout import awaiting_evaluation, holdback_versions
from coordinator.rounds import planning
from coordinator.rounds.publication import publish
from coordinator.rounds.states import RoundEvent
from coordinator.rounds.transitions import take_all
from coordinator.settings import Settings
from coordinator.storage import Database, round_store
from coordinator.storage.round_store import Round
from federated_protocol.plan import MetricSetting, MetricSlot, Plan, TaskKind
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
    def follows(self) -> str | None:
        """The task whose end the next plan builds on, if the next selection may open while that one reports."""
        ...

    def next_sum(self, connection: Connection) -> TaskKind:
        """What the plan of its next round asks for."""
        ...

    def wanted(self, connection: Connection, beside: Sequence[Round] = ()) -> bool:
        """Whether a round may open, apart from the pause and from the kill switch.

        With rounds ``beside``, of the task that it :attr:`follows`: whether one may be wanted when those have ended.
        """
        ...

    def ready(self, connection: Connection) -> bool:
        """Whether what the next plan builds on is decided."""
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
    def follows(self) -> str | None:
        """The evaluation that judges what training made, or the last training where nothing is judged."""
        before = self.settings.evaluation_task if self.settings.releases.evaluation_gate else self.name
        return before if _selects_early(self.settings, self.pause_s) else None

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, beside: Sequence[Round] = ()) -> bool:
        """Until enough versions were made or the budget, less what the rounds under way will cost, is spent."""
        limit = self.settings.rounds.max_rounds
        training = any(row.task == self.name for row in beside)
        if limit and round_store.versions_made(connection, self.name) + training >= limit:
            return False
        return (bool(beside) or self.ready(connection)) and not overspends(connection, self.settings)

    def ready(self, connection: Connection) -> bool:
        """Unless a version waits for its verdict: the next one is trained on it, or on what takes its place."""
        return not self.settings.releases.evaluation_gate or awaiting_evaluation(connection) is None

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Train on top of the newest version."""
        base = current_model(connection)
        dimension = planning.dimension_of(connection, base.version)
        slots = reported_slots(connection, self.settings, base.version)
        plan = planning.make_plan(self.settings, row, base, dimension, cohort=devices, rng=rng, slots=slots)
        return Prepared(base, plan)

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
    def follows(self) -> str | None:
        """The training that makes what is to be judged."""
        return self.settings.task if _selects_early(self.settings, self.pause_s) else None

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, beside: Sequence[Round] = ()) -> bool:
        """While a version awaits its evaluation; beside a training, which will make one."""
        return bool(beside) or self.ready(connection)

    def ready(self, connection: Connection) -> bool:
        """When there is a version to judge."""
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
    def follows(self) -> str | None:
        """Nothing: usage is counted at intervals."""
        return None

    def next_sum(self, connection: Connection) -> TaskKind:
        """Always the same."""
        return self.kind

    def wanted(self, connection: Connection, beside: Sequence[Round] = ()) -> bool:
        """Until the budget is spent."""
        return not overspends(connection, self.settings, usage=True)

    def ready(self, connection: Connection) -> bool:
        """Always: it counts the newest versions, whatever they are."""
        return True

    def prepare(self, connection: Connection, row: Round, devices: int, rng: ByteSource) -> Prepared | None:
        """Count the newest versions."""
        newest = current_model(connection)
        slots = reported_slots(connection, self.settings, newest.version)
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


def reported_slots(connection: Connection, settings: Settings, newest: int) -> tuple[MetricSlot, ...]:
    """By which arms and versions usage is counted."""
    return metric_slots(newest, settings.metrics.newest_versions, holdback_versions(connection)[-1])


def _selects_early(settings: Settings, pause_s: float) -> bool:
    """Whether a selection may open beside a round.

    Whoever joins early waits for the plan until the pause is over: not longer than a selection may last.
    """
    return settings.rounds.pipelined and pause_s <= settings.deadlines.selecting_s
