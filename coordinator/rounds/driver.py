"""What moves rounds on: ``tick`` looks at the database and the clock and takes every step that is due.

Any process may call it at any time, from a ticker thread or from a request; the conditional updates of
:func:`coordinator.storage.round_store.move` and a lease for the two long computations make that safe. All it knows is
in the database, so a killed coordinator resumes by ticking.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection

from coordinator.events import Event, log_event, log_failure
from coordinator.operation.high_water import high_water_path
from coordinator.privacy.ledger import charge_release
from coordinator.rounds import closing, deadlines, lease, planning, versions
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.publication import open_sum
from coordinator.rounds.selection import Selection
from coordinator.rounds.states import PHASE_OF_STATE, SHORT_REASON, RoundEvent, RoundState
from coordinator.rounds.tasks import RoundTask
from coordinator.rounds.transitions import take, take_all
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, round_store
from coordinator.storage.round_store import Round
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.messages import AbandonReason, Phase
from federated_protocol.randomness import ByteSource

RESUME_GRACE_S = 15.0
"""After a restart, devices get at least this long (or the phase's whole time) to find the coordinator again."""
CHECK_INS_KEPT_S = 1800.0


class RoundDriver:
    """Moves the rounds of every task of a deployment.

    Parameters
    ----------
    tasks
        What rounds are for; those of the settings by default.
    rng
        Secure byte source for session ids and rotation seeds.
    executor
        For the masks that unmasking expands; None computes them in the calling thread.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        tasks: Sequence[RoundTask] | None = None,
        *,
        rng: ByteSource = secrets.token_bytes,
        executor: Executor | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._tasks = {task.name: task for task in tasks or tasks_of(settings)}
        self._selection = Selection(settings, rng)
        self._executor = executor
        self._holder = secrets.token_hex(8)
        self._ticking = threading.Lock()

    def tick(self, now: float) -> None:
        """Take every step that is due at ``now`` (Unix seconds). Returns at once if this process is ticking already."""
        if not self._ticking.acquire(blocking=False):
            return
        try:
            for task in self._tasks.values():
                for _ in range(2 * len(RoundState)):
                    if not self._step(task, now):
                        break
            self._clean(now)
        finally:
            self._ticking.release()

    def due(self, now: float) -> bool:
        """Whether a tick would find something to do for a running round."""
        with self._database.reading() as connection:
            for task in self._tasks.values():
                running = round_store.running_rounds(connection, task.name)
                if any(self._is_due(connection, task, row, running, now) for row in running):
                    return True
        return False

    def running(self) -> dict[str, RoundState]:
        """Session and state of every running round."""
        with self._database.reading() as connection:
            return {row.session: row.state for row in self._running(connection)}

    def resume(self, now: float) -> None:
        """Call once at start: give the devices of a running round time to come back, or end what cannot go on."""
        with self._database.writing() as connection:
            for row in self._running(connection, lock=True):
                if row.plan is not None and not _readable(row.plan):
                    take(connection, row, RoundEvent.STOPPED, now, reason=AbandonReason.COORDINATOR_RESTARTED)
                    continue
                grace = min(RESUME_GRACE_S, self._configured_s(row.state))
                round_store.change_round(connection, row.id, deadline=max(row.deadline, now + grace))
                log_event(Event.ROUND_RESUMED, round=row.number, state=list(RoundState).index(row.state))

    def _running(self, connection: Connection, *, lock: bool = False) -> list[Round]:
        return [row for name in self._tasks for row in round_store.running_rounds(connection, name, lock=lock)]

    def _step(self, task: RoundTask, now: float) -> bool:
        """Take every step of a task that is due; whether there may be further ones."""
        with self._database.reading() as connection:
            running = round_store.running_rounds(connection, task.name)
            due = [row for row in running if self._is_due(connection, task, row, running, now)]
            opens = self._selection.may_open(connection, task, running, now)
        moved = [self._take(task, row, now) for row in due]
        if opens:
            with self._database.writing() as connection:
                moved.append(self._selection.open(connection, task, now))
        return any(moved)

    def _take(self, task: RoundTask, seen: Round, now: float) -> bool:
        if seen.state is RoundState.UNMASKING:
            return self._close_unmasking(seen, now)
        if seen.state is RoundState.AGGREGATED:
            return self._finish(task, seen, now)
        with self._database.writing() as connection:
            running = round_store.running_rounds(connection, task.name, lock=seen.state is RoundState.SELECTING)
            row = round_store.round_by_id(connection, seen.id, lock=True)
            if row is None or row.state is not seen.state or not self._is_due(connection, task, row, running, now):
                return False
            if row.state is RoundState.SELECTING:
                return self._selection.close(connection, task, row, now)
            return self._close_phase(connection, row, now)

    def _is_due(
        self, connection: Connection, task: RoundTask, row: Round, running: Sequence[Round], now: float
    ) -> bool:
        if row.state is RoundState.SELECTING:
            return self._selection.is_over(connection, task, row, running, now)
        if row.state is RoundState.AGGREGATED:  # the first cohort with a sum acts for all, once none is under way
            cohorts = [other for other in running if other.is_cohort_of(row)]
            first = min(other.cohort for other in cohorts)
            return row.cohort == first and all(other.state is RoundState.AGGREGATED for other in cohorts)
        if now >= row.deadline:
            return True
        return message_store.count_messages(connection, row.id, PHASE_OF_STATE[row.state]) >= row.still_in

    # -- the steps of secure aggregation -------------------------------------------------------------------------

    def _close_phase(self, connection: Connection, row: Round, now: float) -> bool:
        phase = PHASE_OF_STATE[row.state]
        closed = closing.close_phase(connection, row, phase)
        deadlines.note(connection, row, phase, short=not closed.enough)
        received = message_store.bytes_received(connection, row.id, phase)
        counts: dict[str, Any] = {
            closing.COUNT_COLUMN[phase]: closed.answered,
            "bytes_up": row.bytes_up + received,
            "bytes_down": row.bytes_down + closed.bytes_down,
        }
        if not closed.enough:
            return take(connection, row, RoundEvent.SHORT, now, reason=SHORT_REASON[row.state], **counts)
        threshold = row.threshold or 1
        if closed.context is not None:
            parameters = closed.context.parameters
            threshold = parameters.threshold
            counts |= {"neighbours": parameters.neighbours, "root": closed.context.root}
        following = list(Phase)[list(Phase).index(phase) + 1]
        floor = self._settings.rounds.smallest_aggregate
        return take(
            connection,
            row,
            RoundEvent.QUORUM,
            now,
            threshold=threshold,
            still_in=closed.answered,
            quorum=threshold if phase in (Phase.MASKED_INPUT, Phase.CONFIRM) else max(threshold, floor),
            deadline=now + deadlines.deadline_s(connection, self._settings.deadlines, row.task, following),
            **counts,
        )

    def _close_unmasking(self, row: Round, now: float) -> bool:
        with self._database.writing() as connection:
            answered = message_store.count_messages(connection, row.id, Phase.UNMASK)
            counts: dict[str, Any] = {
                "unmasked": answered,
                "bytes_up": row.bytes_up + message_store.bytes_received(connection, row.id, Phase.UNMASK),
            }
            short = answered < row.quorum or not closing.can_be_opened(connection, row, Phase.UNMASK)
            deadlines.note(connection, row, Phase.UNMASK, short=short)
            if short:
                return take(connection, row, RoundEvent.SHORT, now, reason=SHORT_REASON[row.state], **counts)
            if not round_store.take_lease(connection, row, self._holder, now, lease.LEASE_S):
                return False
        try:
            with lease.held(self._database, row, self._holder, now):
                opened = open_sum(self._database, row, self._executor)
        except (FederatedProtocolError, msgspec.MsgspecError, ValueError) as error:
            log_failure(Event.SUM_FAILED, error, round=row.number)
            with self._database.writing() as connection:
                reason = AbandonReason.UNMASKING_FAILED
                return take(connection, row, RoundEvent.FAILED, now, reason=reason, **counts)
        with self._database.writing() as connection:
            moved = take(
                connection, row, RoundEvent.QUORUM, now, aggregate=opened.vector.astype("<u4").tobytes(), **counts
            )
            if moved:
                opened.store_counters(connection, row.id)
                charge_release(connection, row.id, opened.plan, now, high_water_path(self._settings))
        if moved:
            log_event(Event.SUM_OPENED, round=row.number, inputs=row.inputs or 0, shares=answered)
        return moved

    def _finish(self, task: RoundTask, row: Round, now: float) -> bool:
        """End a round whose every cohort has a sum or was abandoned; ``row`` is its first one with a sum."""
        with self._database.writing() as connection:
            if not round_store.take_lease(connection, row, self._holder, now, lease.LEASE_S):
                return False
            cohorts = [c for c in round_store.cohorts_of(connection, row) if c.state is RoundState.AGGREGATED]
            if len(cohorts) < self._settings.rounds.cohorts_needed * row.cohorts:
                return take_all(connection, cohorts, RoundEvent.SHORT, now, reason=SHORT_REASON[row.state])
        with lease.held(self._database, row, self._holder, now):
            published = task.finish(self._database, cohorts, now)
        if published is None:
            with self._database.writing() as connection:
                reason = AbandonReason.EVALUATION_GATE
                return take_all(connection, cohorts, RoundEvent.REJECTED, now, reason=reason)
        log_event(Event.MODEL_PUBLISHED, round=row.number, version=published)
        return True

    # -- small things --------------------------------------------------------------------------------------------

    def _clean(self, now: float) -> None:
        before = now - self._settings.rounds.keep_round_messages_s
        with self._database.reading() as connection:
            needed = message_store.something_to_purge(connection, before, now - CHECK_INS_KEPT_S)
        if needed:
            with self._database.writing() as connection:
                message_store.purge_rounds(connection, before)
                message_store.purge_check_ins(connection, now - CHECK_INS_KEPT_S)

    def _configured_s(self, state: RoundState) -> float:
        setting = self._settings.deadlines
        if state is RoundState.SELECTING:
            return setting.selecting_s
        phase = PHASE_OF_STATE.get(state)
        return RESUME_GRACE_S if phase is None else deadlines.configured_s(setting, phase)


def _readable(plan: bytes) -> bool:
    try:
        return versions.is_served(planning.decode_plan(plan).protocol_version)
    except msgspec.MsgspecError:
        return False


class Ticking(Protocol):
    """Whatever wants to be called regularly."""

    def tick(self, now: float) -> None:
        """Do what is due at ``now`` (Unix seconds)."""
        ...


class Ticker:
    """A thread that ticks every ``interval_s`` seconds, and at once when woken."""

    def __init__(self, driver: Ticking, clock: Callable[[], float], interval_s: float = 0.25) -> None:
        self._driver = driver
        self._clock = clock
        self._interval_s = interval_s
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="round-ticker", daemon=True)

    def start(self) -> None:
        """Begin ticking."""
        self._thread.start()

    def wake(self) -> None:
        """Tick now."""
        self._due.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the tick under way and end the thread."""
        self._stopping = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._driver.tick(self._clock())
            except Exception as error:  # a failed tick must not end the ticker: the next one tries again
                log_failure(Event.TICK_FAILED, error)
            self._due.wait(self._interval_s)
            self._due.clear()
