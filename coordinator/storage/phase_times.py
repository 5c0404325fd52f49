"""How long the phases of past rounds took to be answered: counts and seconds, nobody's."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from coordinator.storage.database import inserted
from coordinator.storage.tables import phase_times, rounds
from federated_protocol.messages import Phase

_NEWEST = (
    select(rounds.c.number, phase_times.c.answered, phase_times.c.needed_s, phase_times.c.short)
    .join(rounds, rounds.c.id == phase_times.c.round_id)
    .where(rounds.c.task == bindparam("task"), phase_times.c.phase == bindparam("phase"))
    .order_by(phase_times.c.round_id.desc())
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One closed phase of one cohort."""

    number: int
    """Of its round."""
    answered: int
    needed_s: float
    """From its beginning until nearly all of the answers were there."""
    short: bool
    """Whether it ended the cohort."""


def put(connection: Connection, round_id: int, phase: Phase, *, answered: int, needed_s: float, short: bool) -> None:
    """Note a phase, once."""
    values = {"answered": answered, "needed_s": needed_s, "short": int(short)}
    inserted(connection, phase_times, round_id=round_id, phase=phase.value, **values)


def newest(connection: Connection, task: str, phase: Phase, limit: int) -> list[PhaseTime]:
    """The newest of a task's phases of this kind, newest first."""
    found = connection.execute(_NEWEST, {"task": task, "phase": phase.value, "most": limit})
    return [PhaseTime(row.number, row.answered, row.needed_s, bool(row.short)) for row in found]
