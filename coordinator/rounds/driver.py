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
from coordinator.releases.model_store import current_model
from coordinator.releases.rollout import rounds_paused
from coordinator.rounds import closing, lease, planning, versions
from coordinator.rounds.publication import open_sum
from coordinator.rounds.states import PHASE_OF_STATE, SHORT_REASON, RoundEvent, RoundState
from coordinator.rounds.tasks import RoundTask, tasks_of
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, round_store
from coordinator.storage.round_store import Round
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.messages import AbandonReason, Phase
from federated_protocol.randomness import ByteSource

RESUME_GRACE_S = 15.0
"""After a restart, devices get at least this long (or the phase's whole time) to find the coordinator again."""
CHECK_INS_KEPT_S = 1800.0
BEFORE_ANY_INPUT = (
    AbandonReason.TOO_FEW_SELECTED,
    AbandonReason.TOO_FEW_ADVERTISED,
    AbandonReason.TOO_FEW_SHARED,
)


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
        self._rng = rng
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
            return any(self._is_due(connection, row, now) for row in self._running(connection))

    def running(self) -> dict[str, RoundState]:
        """Session and state of every running round."""
        with self._database.reading() as connection:
            return {row.session: row.state for row in self._running(connection)}

    def resume(self, now: float) -> None:
        """Call once at start: give the devices of a running round time to come back, or end what cannot go on."""
        with self._database.writing() as connection:
            for row in self._running(connection, lock=True):
                if row.plan is not None and not _readable(row.plan):
                    self._abandon(connection, row, RoundEvent.STOPPED, AbandonReason.COORDINATOR_RESTARTED, now)
                    continue
                grace = min(RESUME_GRACE_S, self._duration(row.state))
                round_store.change_round(connection, row.id, deadline=max(row.deadline, now + grace))
                log_event(Event.ROUND_RESUMED, round=row.number, state=list(RoundState).index(row.state))

    def stop_round(self, now: float, actor: str) -> bool:
        """End the running rounds by the decision of ``actor``, an operator; False when none is running."""
        with self._database.writing() as connection:
            stopped = 0
            for row in self._running(connection, lock=True):
                reason = AbandonReason.OPERATOR
                stopped += self._move(connection, row, RoundEvent.STOPPED, now, reason=reason, actor=actor)
        return stopped > 0

    def _running(self, connection: Connection, *, lock: bool = False) -> list[Round]:
        found = (round_store.running_round(connection, name, lock=lock) for name in self._tasks)
        return [row for row in found if row is not None]

    def _step(self, task: RoundTask, now: float) -> bool:
        """Take one step; whether there may be another one."""
        with self._database.reading() as connection:
            row = round_store.running_round(connection, task.name)
            due = self._may_open(connection, task, now) if row is None else self._is_due(connection, row, now)
        if not due:
            return False
        if row is None:
            return self._open(task, now)
        if row.state is RoundState.UNMASKING:
            return self._close_unmasking(row, now)
        if row.state is RoundState.AGGREGATED:
            return self._finish(task, row, now)
        with self._database.writing() as connection:
            row = round_store.running_round(connection, task.name, lock=True)
            if row is None or not self._is_due(connection, row, now):
                return False
            if row.state is RoundState.SELECTING:
                return self._close_selection(connection, task, row, now)
            return self._close_phase(connection, row, now)

    # -- opening and selecting -----------------------------------------------------------------------------------

    def _may_open(self, connection: Connection, task: RoundTask, now: float) -> bool:
        if rounds_paused(connection) or not task.wanted(connection):
            return False
        newest = round_store.newest_rounds(connection, task.name, 1)
        return not newest or newest[0].ended_at is None or now >= newest[0].ended_at + task.pause_s

    def _open(self, task: RoundTask, now: float) -> bool:
        with self._database.writing() as connection:
            if not self._may_open(connection, task, now):
                return False
            last = next(iter(round_store.newest_rounds(connection, task.name, 1)), None)
            # A retry is the same round only if nobody can have masked an input for it.
            again = last is not None and last.reason in BEFORE_ANY_INPUT
            number = 1 if last is None else last.number if again else last.number + 1
            return round_store.open_round(
                connection,
                task=task.name,
                number=number,
                attempt=last.attempt + 1 if last is not None and again else 1,
                session=self._rng(8).hex(),
                base_version=current_model(connection).version,
                quorum=self._settings.rounds.minimum_count,
                now=now,
                deadline=now + self._settings.deadlines.selecting_s,
            )

    def _is_due(self, connection: Connection, row: Round, now: float) -> bool:
        if row.state is RoundState.AGGREGATED:
            return True
        if now >= row.deadline:
            return True
        if row.state is RoundState.SELECTING:
            if row.still_in >= self._settings.largest_cohort:
                return True
            settled = row.last_joined_at is not None and now >= row.last_joined_at + self._settings.rounds.settle_s
            return row.still_in >= self._settings.rounds.goal_count and settled
        return message_store.count_messages(connection, row.id, PHASE_OF_STATE[row.state]) >= row.still_in

    def _close_selection(self, connection: Connection, task: RoundTask, row: Round, now: float) -> bool:
        if row.still_in == 0:  # nobody was there: wait on, an abandoned round would tell nobody anything
            round_store.change_round(connection, row.id, deadline=now + self._settings.deadlines.selecting_s)
            return False
        if row.still_in < row.quorum:
            return self._abandon(connection, row, RoundEvent.SHORT, SHORT_REASON[row.state], now, selected=row.still_in)
        prepared = task.prepare(connection, row, self._rng)
        if prepared is None or not task.affords(connection, prepared.plan):
            reason = AbandonReason.OPERATOR if prepared is None else AbandonReason.PRIVACY_BUDGET
            return self._abandon(connection, row, RoundEvent.STOPPED, reason, now, selected=row.still_in)
        encoded = planning.encode_plan(prepared.plan)
        return self._move(
            connection,
            row,
            RoundEvent.QUORUM,
            now,
            base_version=prepared.base.version,
            plan=encoded,
            plan_digest=planning.digest(encoded),
            selected=row.still_in,
            quorum=self._settings.rounds.smallest_aggregate,
            bytes_down=row.bytes_down + len(encoded) * row.still_in,
            deadline=now + self._settings.deadlines.advertise_s,
        )

    # -- the steps of secure aggregation -------------------------------------------------------------------------

    def _close_phase(self, connection: Connection, row: Round, now: float) -> bool:
        phase = PHASE_OF_STATE[row.state]
        closed = closing.close_phase(connection, row, phase)
        received = message_store.bytes_received(connection, row.id, phase)
        counts: dict[str, Any] = {
            closing.COUNT_COLUMN[phase]: closed.answered,
            "bytes_up": row.bytes_up + received,
            "bytes_down": row.bytes_down + closed.bytes_down,
        }
        if not closed.enough:
            return self._abandon(connection, row, RoundEvent.SHORT, SHORT_REASON[row.state], now, **counts)
        threshold = row.threshold or 1
        if closed.context is not None:
            parameters = closed.context.parameters
            threshold = parameters.threshold
            counts |= {"neighbours": parameters.neighbours, "root": closed.context.root}
        following = {
            Phase.ADVERTISE: "share_s",
            Phase.SHARE: "masked_input_s",
            Phase.MASKED_INPUT: "confirm_s",
            Phase.CONFIRM: "unmask_s",
        }[phase]
        floor = self._settings.rounds.smallest_aggregate
        return self._move(
            connection,
            row,
            RoundEvent.QUORUM,
            now,
            threshold=threshold,
            still_in=closed.answered,
            quorum=threshold if phase in (Phase.MASKED_INPUT, Phase.CONFIRM) else max(threshold, floor),
            deadline=now + getattr(self._settings.deadlines, following),
            **counts,
        )

    def _close_unmasking(self, row: Round, now: float) -> bool:
        with self._database.writing() as connection:
            answered = message_store.count_messages(connection, row.id, Phase.UNMASK)
            counts: dict[str, Any] = {
                "unmasked": answered,
                "bytes_up": row.bytes_up + message_store.bytes_received(connection, row.id, Phase.UNMASK),
            }
            if answered < row.quorum or not closing.can_be_opened(connection, row, Phase.UNMASK):
                return self._abandon(connection, row, RoundEvent.SHORT, SHORT_REASON[row.state], now, **counts)
            if not round_store.take_lease(connection, row, self._holder, now, lease.LEASE_S):
                return False
        try:
            with lease.held(self._database, row, self._holder, now):
                opened = open_sum(self._database, row, self._executor)
        except (FederatedProtocolError, msgspec.MsgspecError, ValueError) as error:
            log_failure(Event.SUM_FAILED, error, round=row.number)
            with self._database.writing() as connection:
                return self._abandon(connection, row, RoundEvent.FAILED, AbandonReason.UNMASKING_FAILED, now, **counts)
        with self._database.writing() as connection:
            moved = self._move(
                connection, row, RoundEvent.QUORUM, now, aggregate=opened.vector.astype("<u4").tobytes(), **counts
            )
            if moved:
                opened.store_counters(connection, row.id)
                charge_release(connection, row.id, opened.plan, now, high_water_path(self._settings))
        if moved:
            log_event(Event.SUM_OPENED, round=row.number, inputs=row.inputs or 0, shares=answered)
        return moved

    def _finish(self, task: RoundTask, row: Round, now: float) -> bool:
        with self._database.writing() as connection:
            if not round_store.take_lease(connection, row, self._holder, now, lease.LEASE_S):
                return False
        with lease.held(self._database, row, self._holder, now):
            published = task.finish(self._database, row, now)
        if published is None:
            with self._database.writing() as connection:
                return self._abandon(connection, row, RoundEvent.REJECTED, AbandonReason.EVALUATION_GATE, now)
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

    def _abandon(
        self,
        connection: Connection,
        row: Round,
        event: RoundEvent,
        reason: AbandonReason,
        now: float,
        **counts: Any,
    ) -> bool:
        return self._move(connection, row, event, now, reason=reason, **counts)

    def _move(
        self,
        connection: Connection,
        row: Round,
        event: RoundEvent,
        now: float,
        *,
        reason: AbandonReason | None = None,
        actor: str | None = None,
        **values: float | bytes,
    ) -> bool:
        moved = round_store.move(connection, row, event, now, reason=reason, actor=actor, **values)
        if moved:
            log_event(
                Event.ROUND_MOVED,
                round=row.number,
                attempt=row.attempt,
                left=list(RoundState).index(row.state),
                still_in=row.still_in,
                abandoned=int(reason is not None),
                seconds=now - row.state_since,
            )
        return moved

    def _duration(self, state: RoundState) -> float:
        deadlines = self._settings.deadlines
        return {
            RoundState.SELECTING: deadlines.selecting_s,
            RoundState.ADVERTISING: deadlines.advertise_s,
            RoundState.SHARING: deadlines.share_s,
            RoundState.COLLECTING: deadlines.masked_input_s,
            RoundState.CONFIRMING: deadlines.confirm_s,
            RoundState.UNMASKING: deadlines.unmask_s,
        }.get(state, RESUME_GRACE_S)


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
