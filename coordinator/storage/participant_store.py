"""The devices inside a round, forgotten with its messages; and what every request of one of them asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from coordinator.rounds.states import RoundState
from coordinator.storage.database import OneRow, inserted
from coordinator.storage.round_store import Round
from coordinator.storage.tables import messages, participants, rounds
from federated_protocol.messages import AbandonReason, Phase

# Statements of every request are built once: building one costs more than running it.
_JOINED = (
    update(rounds)
    .where(rounds.c.id == bindparam("round_id"))
    .values(still_in=rounds.c.still_in + 1, last_joined_at=bindparam("now"))
)
_PARTICIPANT = select(participants).where(
    participants.c.round_id == bindparam("round_id"), participants.c.device == bindparam("device")
)
_ALL = select(participants).where(participants.c.round_id == bindparam("round_id")).order_by(participants.c.device)
_TAKES_PART = (
    select(participants.c.device)
    .where(
        participants.c.round_id.in_(bindparam("round_ids", expanding=True)),
        participants.c.device == bindparam("device"),
        participants.c.dropped_in.is_(None),
    )
    .limit(1)
)
_OF_DEVICE = (participants.c.round_id == rounds.c.id) & (participants.c.device == bindparam("device"))
_OF_PHASE = (messages.c.round_id == rounds.c.id) & (messages.c.phase == bindparam("phase"))
_STANDING_QUERY = (
    select(  # in the order of the fields of Standing, the device apart
        rounds.c.state,
        rounds.c.reason,
        participants.c.dropped_in,
        rounds.c.id,
        rounds.c.session,
        rounds.c.cohorts,
        rounds.c.state_since,
        rounds.c.deadline,
        rounds.c.still_in,
        rounds.c.inputs,
        rounds.c.purged,
        rounds.c.plan.is_not(None).label("has_plan"),
        rounds.c.protocol_version,
        participants.c.public_key,
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
_STANDING = OneRow(_STANDING_QUERY)
_STANDING_HELD = OneRow(_STANDING_QUERY.with_for_update(read=True, of=rounds))
_PHASES = tuple(Phase)


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

    device: bytes
    state: RoundState
    reason: AbandonReason | None
    dropped_in: Phase | None
    round_id: int
    session: str
    cohorts: int
    state_since: float
    deadline: float
    still_in: int
    inputs: int | None
    purged: bool
    has_plan: bool
    protocol_version: int | None
    """What the cohort speaks, once somebody joined it."""
    public_key: bytes | None
    """None for a device that was not selected."""
    digest: bytes | None
    """Of what this device said in the phase already, if anything."""
    answer: bytes | None
    """And what it was answered."""
    answers: int
    """Devices that answered the phase so far."""

    def answered(self, phase: Phase) -> bool:
        """Whether the device was still in when ``phase`` had been closed."""
        return self.dropped_in is None or _PHASES.index(self.dropped_in) > _PHASES.index(phase)


def standing(
    connection: Connection, session: str, phase: Phase, device: bytes, *, hold: bool = False
) -> Standing | None:
    """The round with this session id as one of its devices sees it.

    With ``hold``, which others may too, nobody moves the round during this transaction.
    """
    query = _STANDING_HELD if hold else _STANDING
    row = query.find(connection, session=session, phase=phase.value, device=device)
    if row is None:
        return None
    state, reason, dropped_in, *others = row
    return Standing(
        device,
        RoundState(state),
        AbandonReason(reason) if reason else None,
        Phase(dropped_in) if dropped_in else None,
        *others,
    )


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


def takes_part(connection: Connection, running: Sequence[Round], device: bytes) -> bool:
    """Whether a device is still in one of these rounds."""
    if not running:
        return False
    asked = {"round_ids": [row.id for row in running], "device": device}
    return connection.scalar(_TAKES_PART, asked) is not None


def participant(connection: Connection, round_id: int, device: bytes) -> Participant | None:
    """One device of a round."""
    row = connection.execute(_PARTICIPANT, {"round_id": round_id, "device": device}).one_or_none()
    return None if row is None else _participant(row)


def all_participants(connection: Connection, round_id: int) -> list[Participant]:
    """Every device of a round, in the order of the fingerprints (which is the order of the roster)."""
    return [_participant(row) for row in connection.execute(_ALL, {"round_id": round_id})]


def drop(connection: Connection, round_id: int, devices: Iterable[bytes], phase: Phase) -> None:
    """Note that these devices missed ``phase`` and are out."""
    _each(connection, round_id, [{"b_device": device, "b_value": phase.value} for device in devices], "dropped_in")


def set_positions(connection: Connection, round_id: int, positions: dict[bytes, int]) -> None:
    """Give the members of U1 their roster index."""
    _each(connection, round_id, [{"b_device": d, "b_value": p} for d, p in positions.items()], "position")


def _each(connection: Connection, round_id: int, rows: Sequence[dict[str, Any]], column: str) -> None:
    if rows:
        change = (
            update(participants)
            .where(participants.c.round_id == round_id, participants.c.device == bindparam("b_device"))
            .values({column: bindparam("b_value")})
        )
        connection.execute(change, rows)


def _participant(row: Row[Any]) -> Participant:
    return Participant(
        device=row.device,
        public_key=row.public_key,
        certificate=row.certificate,
        position=row.position,
        dropped_in=Phase(row.dropped_in) if row.dropped_in else None,
    )
