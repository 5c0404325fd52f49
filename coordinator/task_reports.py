"""What each task of a deployment does, where it stands, and what its sums have cost in privacy."""

from __future__ import annotations

import math

import msgspec
from sqlalchemy import Connection, func, select

from coordinator.privacy import EpsilonReporter, spending, spending_of_all
from coordinator.privacy.ledger import privacy_sentence
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.tasks import RoundTask
from coordinator.settings import Settings
from coordinator.storage import Database, round_store
from coordinator.storage.tables import rounds
from federated_protocol.plan import NO_DP_GUARANTEE, TaskKind


class TaskReport(msgspec.Struct, frozen=True):
    """One task."""

    name: str
    kind: str
    """``training``, ``evaluation`` or ``analytics``."""
    algorithm: str
    """How its model is trained: ``fedavg`` or ``fsvrg``; of every task that model's."""
    next_sum: str
    """What its next round, or the one that selects, sums: its kind; of FSVRG ``feature_counts``, ``gradient`` or
    ``descent``."""
    wanted: bool
    """Whether a round of it may open now, apart from pauses."""
    state: str | None
    """Of the round under way."""
    published: int
    abandoned: dict[str, int]
    """Rounds, or cohorts of rounds that were cut, by reason."""
    last_ended: float | None
    last_devices: int | None
    """In the newest round's sums."""
    devices_summed: int
    """Over all rounds; a device counts once a round."""
    goal_count: int
    smallest_aggregate: int
    pause_s: float
    bytes_up_per_device: int | None
    """Request bytes by devices in the sums, on average over the task."""
    mean_duration_s: float | None


class PrivacyReport(msgspec.Struct, frozen=True):
    """What the sums of one task have cost, and under which assumptions."""

    task: str
    sentence: str
    """The label devices and pages show."""
    guaranteed: bool
    """Whether a finite epsilon holds."""
    epsilon: float | None
    """Spent so far by all tasks of the deployment together; None without a guarantee."""
    epsilon_budget: float
    delta: float
    rho: float
    noisy_sums: int
    exact_sums: int
    """Sums released without noise."""
    smallest_sum: int | None
    """Devices in the smallest sum that was ever opened."""
    smallest_aggregate: int
    """No sum over fewer is opened."""
    noise_multiplier: float
    assumptions: tuple[str, ...]
    """In words."""


class TaskReports:
    """Reads them from the database; changes nothing."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._epsilon = EpsilonReporter()

    def tasks(self) -> tuple[TaskReport, ...]:
        """Every task, training first."""
        with self._database.reading() as connection:
            found = [self._task(connection, task) for task in tasks_of(self._settings)]
        return tuple(sorted(found, key=lambda task: task.kind != TaskKind.TRAINING.value))

    def privacy(self) -> tuple[PrivacyReport, ...]:
        """Every task, training first."""
        names = sorted((task.name for task in tasks_of(self._settings)), key=len)
        with self._database.reading() as connection:
            return tuple(self._privacy(connection, name) for name in names)

    def _task(self, connection: Connection, task: RoundTask) -> TaskReport:
        setting = self._settings.rounds
        ended = connection.execute(
            select(
                rounds.c.reason,
                func.count().label("cohorts"),
                func.coalesce(func.sum(rounds.c.inputs), 0).label("inputs"),
                func.coalesce(func.sum(rounds.c.bytes_up), 0).label("bytes_up"),
                func.avg(rounds.c.ended_at - rounds.c.opened_at).label("duration"),
            )
            .where(rounds.c.task == task.name, rounds.c.ended_at.is_not(None))
            .group_by(rounds.c.reason)
        ).all()
        whole = next((row for row in ended if row.reason is None), None)
        newest = connection.execute(
            select(func.max(rounds.c.ended_at).label("ended_at"), func.sum(rounds.c.inputs).label("inputs"))
            .where(rounds.c.task == task.name, rounds.c.state == "published")
            .group_by(rounds.c.number)
            .order_by(rounds.c.number.desc())
            .limit(1)
        ).one_or_none()
        running = round_store.running_round(connection, task.name)
        return TaskReport(
            name=task.name,
            kind=task.kind.value,
            algorithm=self._settings.algorithm,
            next_sum=task.next_sum(connection).value,
            wanted=task.wanted(connection),
            state=None if running is None else running.state.value,
            published=round_store.published_count(connection, task.name),
            abandoned={row.reason: row.cohorts for row in ended if row.reason is not None},
            last_ended=None if newest is None else newest.ended_at,
            last_devices=None if newest is None else int(newest.inputs),
            devices_summed=0 if whole is None else int(whole.inputs),
            goal_count=setting.goal_count,
            smallest_aggregate=setting.smallest_aggregate,
            pause_s=task.pause_s,
            bytes_up_per_device=round(whole.bytes_up / whole.inputs) if whole is not None and whole.inputs else None,
            mean_duration_s=None if whole is None else whole.duration,
        )

    def _privacy(self, connection: Connection, task: str) -> PrivacyReport:
        settings, privacy = self._settings, self._settings.privacy
        spent, total = spending(connection, task), spending_of_all(connection, settings)
        epsilon = total.epsilon(privacy.delta)
        guaranteed = privacy.noise_multiplier > 0 and math.isfinite(epsilon)
        accounted = self._epsilon.epsilon(total.rhos, privacy.delta) if guaranteed else None
        smallest = connection.scalar(
            select(func.min(rounds.c.inputs)).where(rounds.c.task == task, rounds.c.unmasked.is_not(None))
        )
        private = task in settings.counting_tasks
        sentence = privacy_sentence(connection, settings, accounted) if private else NO_DP_GUARANTEE
        return PrivacyReport(
            task=task,
            sentence=sentence,
            guaranteed=guaranteed,
            epsilon=(accounted if accounted is not None else epsilon) if guaranteed else None,
            epsilon_budget=privacy.epsilon_budget,
            delta=privacy.delta,
            rho=spent.rho,
            noisy_sums=len(spent.rhos),
            exact_sums=spent.without_noise,
            smallest_sum=smallest,
            smallest_aggregate=settings.rounds.smallest_aggregate,
            noise_multiplier=privacy.noise_multiplier,
            assumptions=assumptions(settings),
        )


def assumptions(settings: Settings) -> tuple[str, ...]:
    """Under which assumptions what a task promises holds, in words."""
    threat, privacy = settings.threat, settings.privacy
    liar = "curious and may lie about who dropped out" if threat.adversary.value == "semi-malicious" else "curious"
    hidden = (
        f"The coordinator sees sums over at least {settings.rounds.smallest_aggregate} devices and nothing below, as "
        f"long as at most {threat.corrupt:.0%} of a cohort collude with it; it is {liar}.",
        f"Rounds survive {threat.dropout:.0%} of their devices vanishing; masks fail with probability at most "
        f"2^-{threat.sigma} a round.",
        "Devices are enrolled by an authority that does not run the coordinator: whoever runs both can invent peers.",
    )
    if privacy.noise_multiplier == 0:
        return (
            *hidden,
            "Sums are exact. Without noise a sum over few devices may say something about one of them: no guarantee of "
            "differential privacy is claimed.",
        )
    return (
        *hidden,
        f"Every device adds its own share of the noise; the shares of {privacy.corrupt_fraction:.0%} of a cohort are "
        "not counted on.",
        "Every sum is charged to every device as if it had been in all of them: no amplification by sampling is "
        "claimed. The unit is one device.",
        "With noise nothing is counted exactly: usage is estimated, where it is asked for, and arms are not compared "
        "for this task: no automatic rollback, no evaluation gate.",
    )
