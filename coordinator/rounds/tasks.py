"""What rounds are for: the training task makes model versions, the evaluation task judges them before anybody ranks.

A task says when its next round may open, what its plan asks, and what becomes of the opened sum; everything between is
the same for all of them (:mod:`coordinator.rounds.driver`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from coordinator.privacy.ledger import affords, overspends
from coordinator.releases.evaluation_gate import settle
from coordinator.releases.model_store import PublishedModel, current_model, load_artifact, published_model
from coordinator.releases.rollout import awaiting_evaluation
from coordinator.rounds import planning
from coordinator.rounds.publication import publish
from coordinator.rounds.states import RoundEvent
from coordinator.settings import Settings
from coordinator.storage import Database, round_store
from coordinator.storage.round_store import Round
from federated_protocol.plan import Plan
from federated_protocol.randomness import ByteSource


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

    def wanted(self, connection: Connection) -> bool:
        """Whether a round may open, apart from the pause after the last one and from the kill switch."""
        ...

    def prepare(self, connection: Connection, row: Round, rng: ByteSource) -> Prepared | None:
        """The plan for the ``row.still_in`` devices of a closed selection; None when there is nothing to do now."""
        ...

    def affords(self, connection: Connection, plan: Plan) -> bool:
        """Whether the privacy budget bears it."""
        ...

    def finish(self, database: Database, row: Round, now: float) -> int | None:
        """Use the opened sum and end the round; the version it is about, or None when the round is to be abandoned."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """Improves the newest model; with the gate on, not before the newest was judged."""

    settings: Settings

    @property
    def name(self) -> str:
        """The task of the settings."""
        return self.settings.task

    def wanted(self, connection: Connection) -> bool:
        """Until enough rounds were published or the budget is spent."""
        limit = self.settings.rounds.max_rounds
        if limit and round_store.published_count(connection, self.name) >= limit:
            return False
        if self.settings.releases.evaluation_gate and awaiting_evaluation(connection) is not None:
            return False
        return not overspends(connection, self.settings)

    def prepare(self, connection: Connection, row: Round, rng: ByteSource) -> Prepared | None:
        """Train on top of the newest version."""
        base = current_model(connection)
        artifact, _ = load_artifact(connection, base.version)
        dimension = len(artifact.weights) // 4
        return Prepared(base, planning.make_plan(self.settings, row, base, dimension, cohort=row.still_in, rng=rng))

    def affords(self, connection: Connection, plan: Plan) -> bool:
        """By the ledger."""
        return affords(connection, self.settings, plan)

    def finish(self, database: Database, row: Round, now: float) -> int | None:
        """Publish the next version."""
        return publish(database, self.settings, row, now)


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """Judges the version that awaits it against the one it was made from, on offers neither was trained on."""

    settings: Settings

    @property
    def name(self) -> str:
        """The task of the settings, and what is done with it."""
        return self.settings.evaluation_task

    def wanted(self, connection: Connection) -> bool:
        """While a version awaits its evaluation."""
        return awaiting_evaluation(connection) is not None

    def prepare(self, connection: Connection, row: Round, rng: ByteSource) -> Prepared | None:
        """Score both models."""
        candidate = awaiting_evaluation(connection)
        if candidate is None:
            return None
        judged = published_model(connection, candidate)
        baseline = published_model(connection, judged.parent)
        artifact, _ = load_artifact(connection, candidate)
        dimension = len(artifact.weights) // 4
        plan = planning.make_evaluation_plan(self.settings, row, judged, baseline, dimension, row.still_in, rng)
        return Prepared(judged, plan)

    def affords(self, connection: Connection, plan: Plan) -> bool:
        """Always: evaluations exist in tasks without a guarantee alone, see :func:`coordinator.settings.validate`."""
        return True

    def finish(self, database: Database, row: Round, now: float) -> int | None:
        """Let the version out, or withdraw it, in the transaction that ends the round."""
        with database.writing() as connection:
            if round_store.move(connection, row, RoundEvent.PASSED, now, published_version=row.base_version):
                settle(connection, self.settings, row.base_version, now)
        return row.base_version


def tasks_of(settings: Settings) -> tuple[RoundTask, ...]:
    """The tasks of a deployment, most urgent first: a check-in joins the first that is selecting."""
    training = TrainingTask(settings)
    return (EvaluationTask(settings), training) if settings.releases.evaluation_gate else (training,)
