"""What operators and product teams see, as plain structs: the admin API, the dashboard and the CLI show the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select

from coordinator.experiments import metric_store
from coordinator.experiments.click_through import ArmUsage, total_usage, usage_by_arm
from coordinator.experiments.comparison import TREATMENT, Comparison, compare_over_rounds
from coordinator.experiments.evaluation import Evaluation
from coordinator.privacy import EpsilonReporter, privacy_sentence, spending_of_all
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.releases.model_store import ModelStore, PublishedModel
from coordinator.releases.rollout import compared_with, holdback_versions, rounds_paused
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.planning import decode_plan
from coordinator.rounds.states import ORDER, PHASE_OF_STATE, RoundState
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, round_store
from coordinator.storage.round_store import Round
from coordinator.storage.tables import audit_log, models, rounds

VERSIONS_SHOWN = 60


class RoundReport(msgspec.Struct, frozen=True):
    """How one cohort of a round went; ``None`` for a phase it never reached."""

    round: int
    attempt: int
    cohort: int
    cohorts: int
    """Into how many the round was cut; each has a report of its own."""
    task: str
    summed: str | None
    """What its plan asks for, a :class:`~federated_protocol.plan.TaskKind`: of FSVRG ``feature_counts``, ``gradient``
    or ``descent``; None before there is a plan."""
    state: str
    reason: str | None
    base_version: int
    published_version: int | None
    selected: int | None
    advertised: int | None
    shared: int | None
    inputs: int | None
    confirmed: int | None
    unmasked: int | None
    neighbours: int | None
    """k of the graph, once U1 is known."""
    shares_needed: int | None
    """t"""
    complete_graph: bool | None
    """Whether everybody was everybody's neighbour: a small cohort, or no sparse graph satisfies the bounds."""
    dropouts: dict[str, int]
    """Devices that missed each phase, by phase."""
    bytes_up: int
    bytes_down: int
    bytes_up_per_device: int | None
    """Request bytes by devices whose input is in the sum, on average."""
    opened_at: float
    duration_s: float | None


def graph_words(report: RoundReport) -> str | None:
    """Who shared secrets with whom, and how many of them open one: ``k 26, t 16`` or ``all, t 9``."""
    if report.neighbours is None:
        return None
    return f"{'all' if report.complete_graph else f'k {report.neighbours}'}, t {report.shares_needed}"


class PhaseProgress(msgspec.Struct, frozen=True):
    """One step of the round under way."""

    name: str
    status: str
    """``done``, ``open`` or ``waiting``."""
    answered: int
    expected: int


class CohortState(msgspec.Struct, frozen=True):
    """Where one cohort of the round under way stands."""

    cohort: int
    state: str
    reason: str | None
    still_in: int


class LiveRound(msgspec.Struct, frozen=True):
    """The round under way; over all its cohorts that go on, as far as it is counts."""

    round: int
    attempt: int
    task: str
    summed: str | None
    """As in :class:`RoundReport`."""
    state: str
    opened_at: float
    deadline: float
    base_version: int
    phases: tuple[PhaseProgress, ...]
    neighbours: int | None = None
    """k of the graph, once U1 is known."""
    shares_needed: int | None = None
    """t"""
    complete_graph: bool | None = None
    dropouts: dict[str, int] = {}
    cohorts: tuple[CohortState, ...] = ()
    """Of a round that was cut; empty for a round of one."""


class UsageReport(msgspec.Struct, frozen=True):
    """Click-through of one arm and version; rates are None without a denominator."""

    arm: str
    version: int
    lines: int
    offers: int
    clicks: int
    offers_per_line: float | None
    clicks_per_line: float | None
    click_through_rate: float | None
    lines_noise: float | None = None
    """Standard deviation of the noise on ``lines``; None where counts are exact."""
    offers_noise: float | None = None
    clicks_noise: float | None = None
    click_through_noise: float | None = None


class RoundUsage(msgspec.Struct, frozen=True):
    """Both arms in one round: the same time, the same population."""

    round: int
    treatment: UsageReport
    holdback: UsageReport


class ModelReport(msgspec.Struct, frozen=True):
    """One model version and its lineage."""

    version: int
    parent: int
    digest: str
    threshold: float
    participants: int
    examples: int
    update_norm: float | None
    created_at: float
    round: int | None = None
    """The round whose sum made it; None for a version published again, and for version 0."""


class MetricsReport(msgspec.Struct, frozen=True):
    """Sums over all rounds by arm and version, and both arms round by round (oldest first)."""

    by_version: tuple[UsageReport, ...]
    by_round: tuple[RoundUsage, ...]
    comparisons: tuple[Comparison, ...] = ()
    """Each newer version against the holdback at the same time, with intervals, oldest version first."""


class StatusReport(msgspec.Struct, frozen=True):
    """Where the coordinator stands."""

    task: str
    privacy: str
    now: float
    model: ModelReport
    published_rounds: int
    versions_made: int
    """By these rounds; of FSVRG only a descent makes one."""
    abandoned_rounds: int
    max_rounds: int
    running: LiveRound | None
    """Of training."""
    live: tuple[LiveRound, ...] = ()
    """Of every task."""
    paused: bool = False
    """Whether the kill switch is on."""
    decisions: int = 0
    """Entries of the audit log: pages that show decisions look again when it grows."""


class Reports:
    """Reads reports from the database; changes nothing."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._models = ModelStore(database)
        self._epsilon = EpsilonReporter()

    def status(self, now: float) -> StatusReport:
        """The state of affairs at ``now``."""
        task = self._settings.task
        with self._database.reading() as connection:
            rows = round_store.running_rounds_of(connection, [task_.name for task_ in tasks_of(self._settings)])
            first = {(row.task, row.number, row.attempt): row for row in reversed(rows)}
            live = tuple(
                self._live(round_store.cohorts_of(connection, row), connection) for row in reversed(first.values())
            )
            paused = rounds_paused(connection)
            decisions = connection.scalar(select(func.max(audit_log.c.id))) or 0
            published = round_store.published_count(connection, task)
            made = round_store.versions_made(connection, task)
            abandoned = round_store.abandoned_count(connection, task)
            spent = spending_of_all(connection, self._settings)
            epsilon = self._epsilon.epsilon(spent.rhos, self._settings.privacy.delta)
            privacy = privacy_sentence(connection, self._settings, epsilon)
        return StatusReport(
            task=task,
            privacy=privacy,
            now=now,
            model=_model(self._models.current()),
            published_rounds=published,
            versions_made=made,
            abandoned_rounds=abandoned,
            max_rounds=self._settings.rounds.max_rounds,
            running=next((found for found in live if found.task == task), None),
            live=live,
            paused=paused,
            decisions=decisions,
        )

    def _live(self, cohorts: Sequence[Round], connection: Connection) -> LiveRound:
        going_on = [row for row in cohorts if row.state is not RoundState.ABANDONED]
        slowest = min(going_on, key=lambda row: (ORDER.index(row.state), row.deadline))
        graph = _round(next((row for row in going_on if row.neighbours is not None), slowest))
        dropouts: Counter[str] = Counter()
        for row in cohorts:
            dropouts.update(_round(row).dropouts)
        return LiveRound(
            round=slowest.number,
            attempt=slowest.attempt,
            task=slowest.task,
            summed=_summed(slowest),
            state=slowest.state.value,
            opened_at=slowest.opened_at,
            deadline=slowest.deadline,
            base_version=slowest.base_version,
            phases=_together([self._phases(connection, row) for row in going_on]),
            neighbours=graph.neighbours,
            shares_needed=graph.shares_needed,
            complete_graph=graph.complete_graph,
            dropouts=dict(dropouts),
            cohorts=tuple(_cohort_state(row) for row in cohorts) if len(cohorts) > 1 else (),
        )

    def _phases(self, connection: Connection, row: Round) -> tuple[PhaseProgress, ...]:
        phase = PHASE_OF_STATE.get(row.state)
        answered = message_store.count_messages(connection, row.id, phase) if phase else row.still_in
        wanted = self._settings.most_selected if row.cohorts == 1 else row.selected or 0
        return _progress(row, answered, wanted)

    def rounds(self, limit: int = 100, *, every_task: bool = False) -> tuple[RoundReport, ...]:
        """The newest rounds that ended or are under way, newest first: of training, or of every task."""
        names = [task.name for task in tasks_of(self._settings)] if every_task else [self._settings.task]
        with self._database.reading() as connection:
            found = [row for name in names for row in round_store.newest_rounds(connection, name, limit)]
        return tuple(_round(row) for row in sorted(found, key=lambda row: -row.opened_at)[:limit])

    def evaluations(self) -> tuple[Evaluation, ...]:
        """What secure sums said about versions before they went out, oldest version first."""
        judged = select(rounds.c.base_version).where(
            rounds.c.task == self._settings.evaluation_task, rounds.c.unmasked.is_not(None)
        )
        with self._database.reading() as connection:
            versions = sorted(set(connection.scalars(judged)))[-VERSIONS_SHOWN:]
            found = (evaluation_of(connection, self._settings, version) for version in versions)
            return tuple(evaluation for evaluation in found if evaluation is not None)

    def models(self) -> tuple[ModelReport, ...]:
        """Every version, oldest first."""
        query = select(models.c.version, rounds.c.number).join(rounds, rounds.c.id == models.c.round_id)
        with self._database.reading() as connection:
            made_by = {row.version: row.number for row in connection.execute(query)}
        return tuple(
            msgspec.structs.replace(_model(model), round=made_by.get(model.version)) for model in self._models.all()
        )

    def metrics(self, limit: int = 200) -> MetricsReport:
        """Click-through by arm and version over all rounds, and by round over the newest ``limit``."""
        task = self._settings.task
        with self._database.reading() as connection:
            by_version = usage_by_arm(metric_store.usage_totals(connection, self._settings.counting_tasks))
            by_round = []
            for number, sums in reversed(metric_store.usage_by_round(connection, task, limit)):
                usages = usage_by_arm(sums)
                by_round.append(
                    RoundUsage(
                        round=number,
                        treatment=_usage(total_usage(usages, "treatment")),
                        holdback=_usage(total_usage(usages, "holdback")),
                    )
                )
        return MetricsReport(
            by_version=tuple(_usage(usage) for usage in by_version),
            by_round=tuple(by_round),
            comparisons=self.comparisons(),
        )

    def comparisons(self, limit: int = 200) -> tuple[Comparison, ...]:
        """Every version counted in the newest ``limit`` sums against the holdback, oldest version first."""
        with self._database.reading() as connection:
            counted = metric_store.comparison_sums(connection, self._settings.counting_tasks, limit)
            holdback = holdback_versions(connection)
        setting = self._settings.metrics
        versions = sorted({u.version for row in counted for u in usage_by_arm(row) if u.arm == TREATMENT and u.version})
        return tuple(
            compare_over_rounds(
                version,
                counted,
                setting.holdback_percent / 100,
                compared_with=compared_with(version, holdback),
                level=setting.confidence,
            )
            for version in versions
        )


def _progress(row: Round, answered: int, goal: int) -> tuple[PhaseProgress, ...]:
    """Selection and the five steps, each done, open or waiting."""
    left = {
        RoundState.SELECTING: row.selected,
        RoundState.ADVERTISING: row.advertised,
        RoundState.SHARING: row.shared,
        RoundState.COLLECTING: row.inputs,
        RoundState.CONFIRMING: row.confirmed,
        RoundState.UNMASKING: row.unmasked,
    }
    names = ("check in", "advertise", "share", "masked input", "confirm", "unmask")
    phases = []
    expected = goal
    for name, (state, count) in zip(names, left.items(), strict=True):
        if state is row.state:
            phases.append(PhaseProgress(name, "open", answered, expected))
        elif count is not None:
            phases.append(PhaseProgress(name, "done", count, expected))
            expected = count
        else:
            phases.append(PhaseProgress(name, "waiting", 0, expected))
    return tuple(phases)


def _together(cohorts: Sequence[tuple[PhaseProgress, ...]]) -> tuple[PhaseProgress, ...]:
    """The steps of a round over its cohorts: open while any cohort is in it or before it and any is past it."""
    phases = []
    for steps in zip(*cohorts, strict=True):
        statuses = {step.status for step in steps}
        status = statuses.pop() if len(statuses) == 1 else "open"
        answered, expected = sum(step.answered for step in steps), sum(step.expected for step in steps)
        phases.append(PhaseProgress(steps[0].name, status, answered, expected))
    return tuple(phases)


def _cohort_state(row: Round) -> CohortState:
    return CohortState(row.cohort, row.state.value, row.reason.value if row.reason else None, row.still_in)


def _summed(row: Round) -> str | None:
    try:
        return None if row.plan is None else decode_plan(row.plan).kind.value
    except msgspec.MsgspecError:  # of another program version
        return None


def _round(row: Round) -> RoundReport:
    reached = {
        "advertise": (row.selected, row.advertised),
        "share": (row.advertised, row.shared),
        "masked_input": (row.shared, row.inputs),
        "confirm": (row.inputs, row.confirmed),
        "unmask": (row.confirmed, row.unmasked),
    }
    return RoundReport(
        round=row.number,
        attempt=row.attempt,
        cohort=row.cohort,
        cohorts=row.cohorts,
        task=row.task,
        summed=_summed(row),
        state=row.state.value,
        reason=row.reason.value if row.reason else None,
        base_version=row.base_version,
        published_version=row.published_version,
        selected=row.selected,
        advertised=row.advertised,
        shared=row.shared,
        inputs=row.inputs,
        confirmed=row.confirmed,
        unmasked=row.unmasked,
        neighbours=row.neighbours,
        shares_needed=row.threshold,
        complete_graph=None if row.neighbours is None else row.neighbours == (row.advertised or 0) - 1,
        dropouts={
            phase: before - after
            for phase, (before, after) in reached.items()
            if before is not None and after is not None
        },
        bytes_up=row.bytes_up,
        bytes_down=row.bytes_down,
        bytes_up_per_device=round(row.bytes_up / row.inputs) if row.inputs else None,
        opened_at=row.opened_at,
        duration_s=row.ended_at - row.opened_at if row.ended_at is not None else None,
    )


def _usage(usage: ArmUsage) -> UsageReport:
    return UsageReport(
        arm=usage.arm,
        version=usage.version,
        lines=usage.lines,
        offers=usage.offers,
        clicks=usage.clicks,
        offers_per_line=usage.offers_per_line,
        clicks_per_line=usage.clicks_per_line,
        click_through_rate=usage.click_through_rate,
        lines_noise=math.sqrt(usage.lines_variance) or None,
        offers_noise=math.sqrt(usage.offers_variance) or None,
        clicks_noise=math.sqrt(usage.clicks_variance) or None,
        click_through_noise=usage.click_through_noise,
    )


def _model(model: PublishedModel) -> ModelReport:
    return ModelReport(
        version=model.version,
        parent=model.parent,
        digest=model.digest,
        threshold=model.threshold,
        participants=model.participants,
        examples=model.examples,
        update_norm=model.update_norm,
        created_at=model.created_at,
    )
