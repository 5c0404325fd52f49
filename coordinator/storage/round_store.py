"""Rounds, their participants and their history. Functions take a connection, so a caller composes one transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from coordinator.rounds.states import RoundEvent, RoundState, next_state
from coordinator.storage.database import inserted
from coordinator.storage.tables import history, messages, participants, rounds
from federated_protocol.messages import AbandonReason, Phase

# Statements of every request are built once: building one costs more than running it.
_RUNNING = select(rounds).where(rounds.c.task == bindparam("task"), rounds.c.ended_at.is_(None))
_RUNNING_LOCKED = _RUNNING.with_for_update()
_BY_SESSION = select(rounds).where(rounds.c.session == bindparam("session"))
_NEWEST = select(rounds).where(rounds.c.task == bindparam("task")).order_by(rounds.c.id.desc()).limit(bindparam("most"))
_PUBLISHED = select(func.count()).where(
    rounds.c.task == bindparam("task"), rounds.c.state == RoundState.PUBLISHED.value
)
_JOINED = (
    update(rounds)
    .where(rounds.c.id == bindparam("round_id"))
    .values(still_in=rounds.c.still_in + 1, last_joined_at=bindparam("now"))
)
_PARTICIPANT = select(participants).where(
    participants.c.round_id == bindparam("round_id"), participants.c.device == bindparam("device")
)
_OF_DEVICE = (participants.c.round_id == rounds.c.id) & (participants.c.device == bindparam("device"))
_OF_PHASE = (messages.c.round_id == rounds.c.id) & (messages.c.phase == bindparam("phase"))
_STANDING = (
    select(
        rounds.c.id,
        rounds.c.state,
        rounds.c.reason,
        rounds.c.state_since,
        rounds.c.deadline,
        rounds.c.still_in,
        rounds.c.inputs,
        rounds.c.purged,
        rounds.c.plan.is_not(None).label("has_plan"),
        rounds.c.root.is_not(None).label("has_graph"),
        participants.c.public_key,
        participants.c.position,
        participants.c.dropped_in,
        messages.c.digest,
        messages.c.answer,
        select(func.count())
        .select_from(messages)
        .where(_OF_PHASE)
        .correlate(rounds)
        .scalar_subquery()
        .label("answers"),
    )
    .select_from(
        rounds.outerjoin(participants, _OF_DEVICE).outerjoin(
            messages, _OF_PHASE & (messages.c.device == bindparam("device"))
        )
    )
    .where(rounds.c.session == bindparam("session"))
)
_STANDING_HELD = _STANDING.with_for_update(read=True, of=rounds)
_PHASES = tuple(Phase)


@dataclass(frozen=True, slots=True)
class Round:
    """One row of ``rounds``; times are Unix seconds, counts are devices."""

    id: int
    task: str
    number: int
    attempt: int
    protocol_version: int | None
    session: str
    state: RoundState
    reason: AbandonReason | None
    base_version: int
    opened_at: float
    state_since: float
    deadline: float
    last_joined_at: float | None
    still_in: int
    quorum: int
    threshold: int | None
    neighbours: int | None
    root: bytes | None
    plan: bytes | None
    plan_digest: bytes | None
    aggregate: bytes | None
    selected: int | None
    advertised: int | None
    shared: int | None
    inputs: int | None
    confirmed: int | None
    unmasked: int | None
    bytes_up: int
    bytes_down: int
    ended_at: float | None
    published_version: int | None
    lease_holder: str | None
    lease_until: float | None
    purged: int

    @property
    def running(self) -> bool:
        """Whether the round has not ended."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Participant:
    """A device inside one round; forgotten with the round's messages."""

    device: bytes
    public_key: bytes
    certificate: bytes
    position: int | None
    dropped_in: Phase | None

    def answered(self, phase: Phase) -> bool:
        """Whether the device was still in when ``phase`` had been closed."""
        return self.dropped_in is None or _PHASES.index(self.dropped_in) > _PHASES.index(phase)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a round stands, and one device in one phase of it: what every request inside a round asks, in one query."""

    round_id: int
    state: RoundState
    reason: AbandonReason | None
    state_since: float
    deadline: float
    still_in: int
    inputs: int | None
    purged: bool
    has_plan: bool
    has_graph: bool
    """Whether U1 and its graph are fixed."""
    public_key: bytes | None
    """None for a device that was not selected."""
    position: int | None
    dropped_in: Phase | None
    digest: bytes | None
    """Of what this device said in the phase already, if anything."""
    answer: bytes | None
    """And what it was answered."""
    answers: int
    """Devices that answered the phase so far."""

    def answered(self, phase: Phase) -> bool:
        """Whether the device was still in when ``phase`` had been closed."""
        return self.dropped_in is None or _PHASES.index(self.dropped_in) > _PHASES.index(phase)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One transition: when, from where to where, by which event, why if it was abandoned, and who did it."""

    at: float
    from_state: str | None
    to_state: str
    event: str | None
    reason: str | None
    actor: str | None
    """``process HOST:ID``, or an operator's account; None before schema version 6."""


def this_process() -> str:
    """What a transition that nobody decided is signed with."""
    return f"process {socket.gethostname()[:40]}:{os.getpid()}"


def running_round(connection: Connection, task: str, *, lock: bool = False) -> Round | None:
    """The round of ``task`` that has not ended; with ``lock`` nobody else changes it in this transaction's time."""
    return _round(connection.execute(_RUNNING_LOCKED if lock else _RUNNING, {"task": task}).one_or_none())


def round_by_session(connection: Connection, session: str) -> Round | None:
    """The round with this session id."""
    return _round(connection.execute(_BY_SESSION, {"session": session}).one_or_none())


def standing(
    connection: Connection, session: str, phase: Phase, device: bytes, *, hold: bool = False
) -> Standing | None:
    """The round with this session id as one of its devices sees it.

    With ``hold``, which others may too, nobody moves the round during this transaction.
    """
    asked = {"session": session, "phase": phase.value, "device": device}
    row = connection.execute(_STANDING_HELD if hold else _STANDING, asked).one_or_none()
    if row is None:
        return None
    return Standing(
        round_id=row.id,
        state=RoundState(row.state),
        reason=AbandonReason(row.reason) if row.reason else None,
        state_since=row.state_since,
        deadline=row.deadline,
        still_in=row.still_in,
        inputs=row.inputs,
        purged=bool(row.purged),
        has_plan=bool(row.has_plan),
        has_graph=bool(row.has_graph),
        public_key=row.public_key,
        position=row.position,
        dropped_in=Phase(row.dropped_in) if row.dropped_in else None,
        digest=row.digest,
        answer=row.answer,
        answers=row.answers,
    )


def plan_of(connection: Connection, round_id: int) -> bytes | None:
    """The encoded plan of a round; rounds that never had a cohort have none."""
    return connection.scalar(select(rounds.c.plan).where(rounds.c.id == round_id))


def newest_rounds(connection: Connection, task: str, limit: int) -> list[Round]:
    """The newest rounds of a task, newest first."""
    rows = connection.execute(_NEWEST, {"task": task, "most": limit})
    return [found for row in rows if (found := _round(row)) is not None]


def published_count(connection: Connection, task: str) -> int:
    """How many rounds of a task ended with a new model."""
    return connection.scalar(_PUBLISHED, {"task": task}) or 0


def abandoned_count(connection: Connection, task: str) -> int:
    """How many rounds of a task were abandoned."""
    query = select(func.count()).where(rounds.c.task == task, rounds.c.state == RoundState.ABANDONED.value)
    return connection.scalar(query) or 0


def open_round(
    connection: Connection,
    *,
    task: str,
    number: int,
    attempt: int,
    session: str,
    base_version: int,
    quorum: int,
    now: float,
    deadline: float,
) -> bool:
    """Begin selecting; False when another process already did (one running round a task)."""
    opened = inserted(
        connection,
        rounds,
        task=task,
        number=number,
        attempt=attempt,
        session=session,
        state=RoundState.SELECTING.value,
        base_version=base_version,
        opened_at=now,
        state_since=now,
        deadline=deadline,
        still_in=0,
        quorum=quorum,
        bytes_up=0,
        bytes_down=0,
        purged=0,
    )
    if opened:
        row = running_round(connection, task)
        assert row is not None
        _remember(connection, row.id, now, None, RoundState.SELECTING, None, None)
    return opened


def move(
    connection: Connection,
    row: Round,
    event: RoundEvent,
    now: float,
    *,
    reason: AbandonReason | None = None,
    actor: str | None = None,
    **values: Any,
) -> bool:
    """Take one transition of the table, if the round is still where ``row`` saw it, and write it to the history.

    ``actor`` is the operator's account, or None where this process decided. ``values`` are further columns to set.
    False when somebody else moved the round first.
    """
    target = next_state(row.state, event)
    if target in (RoundState.ABANDONED, RoundState.PUBLISHED):
        values |= {"ended_at": now, "aggregate": None}
    values |= {
        "state": target.value,
        "state_since": now,
        "reason": reason.value if reason else None,
        "lease_holder": None,
        "lease_until": None,
    }
    change = update(rounds).where(rounds.c.id == row.id, rounds.c.state == row.state.value).values(**values)
    if connection.execute(change).rowcount != 1:
        return False
    _remember(connection, row.id, now, row.state, target, event, reason, actor)
    return True


def change_round(connection: Connection, round_id: int, **values: Any) -> None:
    """Set columns that do not move the round."""
    connection.execute(update(rounds).where(rounds.c.id == round_id).values(**values))


def take_lease(connection: Connection, row: Round, holder: str, now: float, lease_s: float) -> bool:
    """Become the one process that works on this round for ``lease_s`` seconds, unless another one is."""
    free = (rounds.c.lease_until.is_(None)) | (rounds.c.lease_until <= now) | (rounds.c.lease_holder == holder)
    change = (
        update(rounds)
        .where(rounds.c.id == row.id, rounds.c.state == row.state.value, free)
        .values(lease_holder=holder, lease_until=now + lease_s)
    )
    return connection.execute(change).rowcount == 1


def join(
    connection: Connection, round_id: int, device: bytes, public_key: bytes, certificate: bytes, now: float
) -> bool:
    """Add a device to a selecting round; False when it is in already."""
    new = inserted(
        connection,
        participants,
        round_id=round_id,
        device=device,
        public_key=public_key,
        certificate=certificate,
        joined_at=now,
    )
    if new:
        connection.execute(_JOINED, {"round_id": round_id, "now": now})
    return new


def participant(connection: Connection, round_id: int, device: bytes) -> Participant | None:
    """One device of a round."""
    row = connection.execute(_PARTICIPANT, {"round_id": round_id, "device": device}).one_or_none()
    return None if row is None else _participant(row)


def all_participants(connection: Connection, round_id: int) -> list[Participant]:
    """Every device of a round, in the order of the fingerprints (which is the order of the roster)."""
    query = select(participants).where(participants.c.round_id == round_id).order_by(participants.c.device)
    return [_participant(row) for row in connection.execute(query)]


def drop(connection: Connection, round_id: int, devices: Iterable[bytes], phase: Phase) -> None:
    """Note that these devices missed ``phase`` and are out."""
    _each(connection, round_id, [{"b_device": device, "b_value": phase.value} for device in devices], "dropped_in")


def set_positions(connection: Connection, round_id: int, positions: dict[bytes, int]) -> None:
    """Give the members of U1 their roster index."""
    _each(connection, round_id, [{"b_device": d, "b_value": p} for d, p in positions.items()], "position")


def history_of(connection: Connection, round_id: int) -> list[HistoryEntry]:
    """Every transition of a round, oldest first."""
    query = select(history).where(history.c.round_id == round_id).order_by(history.c.id)
    return [
        HistoryEntry(row.at, row.from_state, row.to_state, row.event, row.reason, row.actor)
        for row in connection.execute(query)
    ]


def _each(connection: Connection, round_id: int, rows: Sequence[dict[str, Any]], column: str) -> None:
    if rows:
        change = (
            update(participants)
            .where(participants.c.round_id == round_id, participants.c.device == bindparam("b_device"))
            .values({column: bindparam("b_value")})
        )
        connection.execute(change, rows)


def _remember(
    connection: Connection,
    round_id: int,
    now: float,
    source: RoundState | None,
    target: RoundState,
    event: RoundEvent | None,
    reason: AbandonReason | None,
    actor: str | None = None,
) -> None:
    connection.execute(
        insert(history).values(
            round_id=round_id,
            at=now,
            from_state=source.value if source else None,
            to_state=target.value,
            event=event.value if event else None,
            reason=reason.value if reason else None,
            actor=(actor or this_process())[:64],
        )
    )


def _round(row: Row[Any] | None) -> Round | None:
    if row is None:
        return None
    values = dict(row._mapping)
    values["state"] = RoundState(values["state"])
    values["reason"] = AbandonReason(values["reason"]) if values["reason"] else None
    return Round(**values)


def _participant(row: Row[Any]) -> Participant:
    return Participant(
        device=row.device,
        public_key=row.public_key,
        certificate=row.certificate,
        position=row.position,
        dropped_in=Phase(row.dropped_in) if row.dropped_in else None,
    )
