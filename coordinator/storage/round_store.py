"""Rounds and their history. Functions take a connection, so a caller composes one transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, func, insert, select, update

from coordinator.rounds.states import RoundEvent, RoundState, next_state
from coordinator.storage.database import inserted
from coordinator.storage.tables import history, participants, rounds
from federated_protocol.messages import AbandonReason

# Statements of every request are built once: building one costs more than running it.
_RUNNING_OF_ALL = select(rounds).where(rounds.c.ended_at.is_(None)).order_by(rounds.c.id)
_RUNNING = _RUNNING_OF_ALL.where(rounds.c.task == bindparam("task"))
_RUNNING_LOCKED = _RUNNING.with_for_update()
_BY_SESSION = select(rounds).where(rounds.c.session == bindparam("session"))
_NEWEST = (
    select(rounds)
    .where(rounds.c.task == bindparam("task"))
    .order_by(rounds.c.number.desc(), rounds.c.attempt.desc(), rounds.c.cohort)
    .limit(bindparam("most"))
)
_BY_ID = select(rounds).where(rounds.c.id == bindparam("round_id"))
_BY_ID_LOCKED = _BY_ID.with_for_update()
_PUBLISHED = select(func.count(rounds.c.number.distinct())).where(
    rounds.c.task == bindparam("task"), rounds.c.state == RoundState.PUBLISHED.value
)
_COHORTS = (
    select(rounds)
    .where(
        rounds.c.task == bindparam("task"),
        rounds.c.number == bindparam("number"),
        rounds.c.attempt == bindparam("attempt"),
    )
    .order_by(rounds.c.cohort)
)
_COHORTS_LOCKED = _COHORTS.with_for_update()
_LAST_ENDED = select(func.max(rounds.c.ended_at)).where(
    rounds.c.task == bindparam("task"),
    # The newest number may be a selection beside the round before it.
    rounds.c.number
    >= select(func.max(rounds.c.number)).where(rounds.c.task == bindparam("task")).scalar_subquery() - 1,
)
_VERSIONS_MADE = _PUBLISHED.where(rounds.c.published_version.is_not(None))


@dataclass(frozen=True, slots=True)
class Round:
    """One row of ``rounds``: a cohort of a round; times are Unix seconds, counts are devices."""

    id: int
    task: str
    number: int
    attempt: int
    cohort: int
    """1..``cohorts``"""
    cohorts: int
    """Into how many secure aggregations of their own the round was cut."""
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

    def is_cohort_of(self, other: Round) -> bool:
        """Whether both rows are the same attempt of the same round."""
        return (self.task, self.number, self.attempt) == (other.task, other.number, other.attempt)


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


def running_rounds(connection: Connection, task: str, *, lock: bool = False) -> list[Round]:
    """Every cohort of ``task`` that has not ended, oldest first; the last one may be the next selection.

    With ``lock`` nobody else changes them in this transaction's time.
    """
    return [_as_round(row) for row in connection.execute(_RUNNING_LOCKED if lock else _RUNNING, {"task": task})]


def running_rounds_of(connection: Connection, tasks: Sequence[str]) -> list[Round]:
    """Those of several tasks in one query, in the order of ``tasks``, of each the oldest first."""
    found = [_as_round(row) for row in connection.execute(_RUNNING_OF_ALL)]
    return [row for task in tasks for row in found if row.task == task]


def running_round(connection: Connection, task: str, *, lock: bool = False) -> Round | None:
    """The oldest of :func:`running_rounds`, None when nothing runs."""
    return next(iter(running_rounds(connection, task, lock=lock)), None)


def round_by_id(connection: Connection, round_id: int, *, lock: bool = False) -> Round | None:
    """One row; with ``lock`` nobody else changes it in this transaction's time."""
    row = connection.execute(_BY_ID_LOCKED if lock else _BY_ID, {"round_id": round_id}).one_or_none()
    return None if row is None else _as_round(row)


def cohorts_of(connection: Connection, row: Round, *, lock: bool = False) -> list[Round]:
    """Every cohort of this attempt of a round, in their order, ``row`` itself included."""
    asked = {"task": row.task, "number": row.number, "attempt": row.attempt}
    return [_as_round(found) for found in connection.execute(_COHORTS_LOCKED if lock else _COHORTS, asked)]


def round_by_session(connection: Connection, session: str) -> Round | None:
    """The round with this session id."""
    row = connection.execute(_BY_SESSION, {"session": session}).one_or_none()
    return None if row is None else _as_round(row)


def newest_rounds(connection: Connection, task: str, limit: int) -> list[Round]:
    """The newest cohorts of a task, those of the newest round first."""
    return [_as_round(row) for row in connection.execute(_NEWEST, {"task": task, "most": limit})]


def last_ended_at(connection: Connection, task: str) -> float | None:
    """When the newest round of a task that has ended did so, with all its cohorts; None before the first."""
    ended: float | None = connection.scalar(_LAST_ENDED, {"task": task})
    return ended


def published_count(connection: Connection, task: str) -> int:
    """How many rounds of a task ended with what they were opened for."""
    return connection.scalar(_PUBLISHED, {"task": task}) or 0


def versions_made(connection: Connection, task: str) -> int:
    """How many rounds of a task ended with a new version."""
    return connection.scalar(_VERSIONS_MADE, {"task": task}) or 0


def abandoned_count(connection: Connection, task: str) -> int:
    """How many attempts of rounds of a task were abandoned whole."""
    abandoned = func.sum(case((rounds.c.state == RoundState.ABANDONED.value, 1), else_=0))
    attempts = (
        select(rounds.c.number)
        .where(rounds.c.task == task)
        .group_by(rounds.c.number, rounds.c.attempt)
        .having(abandoned == func.count())
    )
    return connection.scalar(select(func.count()).select_from(attempts.subquery())) or 0


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
    """Begin selecting; False when another process already did (one selection a task)."""
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
        row = round_by_session(connection, session)
        assert row is not None
        _remember(connection, row.id, now, None, RoundState.SELECTING, None, None)
    return opened


def split_off(
    connection: Connection, row: Round, cohort: int, cohorts: int, session: str, devices: Sequence[bytes], now: float
) -> Round:
    """Give these devices of a selection that has closed a cohort of their own, still in ``SELECTING``.

    Call it after ``row`` and the cohorts before this one have moved on: a task has one row that selects.
    """
    values = {
        "task": row.task,
        "number": row.number,
        "attempt": row.attempt,
        "cohort": cohort,
        "cohorts": cohorts,
        "protocol_version": row.protocol_version,
        "session": session,
        "state": RoundState.SELECTING.value,
        "base_version": row.base_version,
        "opened_at": row.opened_at,
        "state_since": row.state_since,
        "deadline": row.deadline,
        "last_joined_at": row.last_joined_at,
        "still_in": len(devices),
        "quorum": row.quorum,
        "bytes_up": 0,
        "bytes_down": 0,
        "purged": 0,
    }
    connection.execute(insert(rounds).values(**values))
    made = round_by_session(connection, session)
    assert made is not None
    _remember(connection, made.id, now, None, RoundState.SELECTING, None, None)
    change = (
        update(participants)
        .where(participants.c.round_id == row.id, participants.c.device == bindparam("b_device"))
        .values(round_id=made.id)
    )
    connection.execute(change, [{"b_device": device} for device in devices])
    return made


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


def cohort_of(connection: Connection, row: Round, device: bytes) -> Round | None:
    """The cohort of this attempt of a round that a device was dealt to."""
    query = (
        select(rounds)
        .join(participants, participants.c.round_id == rounds.c.id)
        .where(rounds.c.task == row.task, rounds.c.number == row.number, rounds.c.attempt == row.attempt)
        .where(participants.c.device == device)
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else _as_round(found)


def entered_at(connection: Connection, round_id: int, state: RoundState) -> float | None:
    """When a round came into a state; None if it never did."""
    query = select(func.min(history.c.at)).where(history.c.round_id == round_id, history.c.to_state == state.value)
    found: float | None = connection.scalar(query)
    return found


def mean_time_to_collect_s(connection: Connection, found: Sequence[Round]) -> float:
    """How long those of these rounds that came so far took from their plan to collecting; 0 when none did."""
    began, collected = history.alias(), history.alias()
    query = (
        select(func.avg(collected.c.at - began.c.at))
        .join(collected, collected.c.round_id == began.c.round_id)
        .where(began.c.round_id.in_([row.id for row in found]), began.c.to_state == RoundState.ADVERTISING.value)
        .where(collected.c.to_state == RoundState.COLLECTING.value)
    )
    return float(connection.scalar(query) or 0.0)


def history_of(connection: Connection, round_id: int) -> list[HistoryEntry]:
    """Every transition of a round, oldest first."""
    query = select(history).where(history.c.round_id == round_id).order_by(history.c.id)
    return [
        HistoryEntry(row.at, row.from_state, row.to_state, row.event, row.reason, row.actor)
        for row in connection.execute(query)
    ]


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


def _as_round(row: Row[Any]) -> Round:
    values = dict(row._mapping)
    values["state"] = RoundState(values["state"])
    values["reason"] = AbandonReason(values["reason"]) if values["reason"] else None
    return Round(**values)
