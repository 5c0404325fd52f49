"""What devices sent in a round and what they get back; deleted within the hour after the round ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from coordinator.storage.database import inserted
from coordinator.storage.tables import check_ins, messages, participants, results, rounds
from federated_protocol.messages import Phase

EVERYBODY = b""
"""The device of a result that is the same for all."""

# Statements are built once: building one costs more than running it.
_OF_PHASE = (messages.c.round_id == bindparam("round_id")) & (messages.c.phase == bindparam("phase"))
_PAYLOAD = select(messages.c.payload).where(_OF_PHASE, messages.c.device == bindparam("device"))
_COUNT = select(func.count()).select_from(messages).where(_OF_PHASE)
_ARRIVAL = (
    select(messages.c.received_at)
    .where(_OF_PHASE)
    .order_by(messages.c.received_at)
    .offset(bindparam("before"))
    .limit(bindparam("most"))
)
_WHO_ANSWERED = select(messages.c.device).where(_OF_PHASE)
_BYTES = select(func.sum(messages.c.size_bytes)).where(_OF_PHASE)
_PAYLOADS = (
    select(messages.c.device, messages.c.payload)
    .where(_OF_PHASE)
    .order_by(messages.c.device)
    .execution_options(yield_per=16)
)
_SIGNATURES = select(messages.c.device, messages.c.signature).where(_OF_PHASE)
_RESULT = (
    select(results.c.answer)
    .where(
        results.c.round_id == bindparam("round_id"),
        results.c.phase == bindparam("phase"),
        results.c.device.in_((bindparam("device"), EVERYBODY)),
    )
    .order_by(func.length(results.c.device).desc())
    .limit(1)
)
_SOMETHING_TO_PURGE = select(
    exists().where(rounds.c.ended_at <= bindparam("ended_before"), rounds.c.purged == 0)
    | exists().where(check_ins.c.received_at < bindparam("checked_in_before"))
)
_STORED_CHECK_IN = select(check_ins.c.digest, check_ins.c.answer).where(
    check_ins.c.device == bindparam("device"), check_ins.c.nonce == bindparam("nonce")
)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The digest of what was said, and what was answered."""

    digest: bytes
    answer: bytes


def add_message(
    connection: Connection,
    *,
    round_id: int,
    phase: Phase,
    device: bytes,
    digest: bytes,
    payload: bytes,
    signature: bytes,
    answer: bytes,
    size_bytes: int,
    now: float,
) -> bool:
    """Store a message once; False when this (round, phase, device) already has one."""
    return inserted(
        connection,
        messages,
        round_id=round_id,
        phase=phase.value,
        device=device,
        digest=digest,
        payload=payload,
        signature=signature,
        answer=answer,
        size_bytes=size_bytes,
        received_at=now,
    )


def count_messages(connection: Connection, round_id: int, phase: Phase) -> int:
    """How many devices answered a phase so far."""
    return connection.scalar(_COUNT, _phase(round_id, phase)) or 0


def arrival(connection: Connection, round_id: int, phase: Phase, place: int) -> float | None:
    """When the answer arrived that was number ``place``, from 1; None when there are fewer."""
    return connection.scalar(_ARRIVAL, _phase(round_id, phase) | {"before": place - 1, "most": 1})


def devices_that_answered(connection: Connection, round_id: int, phase: Phase) -> list[bytes]:
    """Who answered a phase."""
    return list(connection.scalars(_WHO_ANSWERED, _phase(round_id, phase)))


def bytes_received(connection: Connection, round_id: int, phase: Phase) -> int:
    """Request bytes of a phase."""
    return int(connection.scalar(_BYTES, _phase(round_id, phase)) or 0)


def payloads(connection: Connection, round_id: int, phase: Phase) -> Iterator[tuple[bytes, bytes]]:
    """(device, payload) of every message of a phase, in the order of the fingerprints, one at a time."""
    for row in connection.execute(_PAYLOADS, _phase(round_id, phase)):
        yield row.device, row.payload


def payload(connection: Connection, round_id: int, phase: Phase, device: bytes) -> bytes | None:
    """What one device said in a phase."""
    return connection.scalar(_PAYLOAD, _phase(round_id, phase) | {"device": device})


def signatures(connection: Connection, round_id: int, phase: Phase) -> dict[bytes, bytes]:
    """The envelopes' signatures of a phase, by device."""
    return {row.device: row.signature for row in connection.execute(_SIGNATURES, _phase(round_id, phase))}


def put_results(connection: Connection, round_id: int, phase: Phase, answers: Mapping[bytes, bytes]) -> None:
    """Store outcomes of a phase by device, or under :data:`EVERYBODY`."""
    if not answers:
        return
    connection.execute(
        insert(results),
        [
            {"round_id": round_id, "phase": phase.value, "device": device, "answer": answer}
            for device, answer in answers.items()
        ],
    )


def result(connection: Connection, round_id: int, phase: Phase, device: bytes) -> bytes | None:
    """The outcome of a phase for this device."""
    return connection.scalar(_RESULT, {"round_id": round_id, "phase": phase.value, "device": device})


def purge_rounds(connection: Connection, ended_before: float) -> int:
    """Delete participants, messages and results of rounds that ended before this time; returns how many rounds."""
    old = list(connection.scalars(select(rounds.c.id).where(rounds.c.ended_at <= ended_before, rounds.c.purged == 0)))
    for round_id in old:
        for table in (messages, results, participants):
            connection.execute(delete(table).where(table.c.round_id == round_id))
        connection.execute(update(rounds).where(rounds.c.id == round_id).values(purged=1))
    return len(old)


def something_to_purge(connection: Connection, ended_before: float, checked_in_before: float) -> bool:
    """Whether :func:`purge_rounds` or :func:`purge_check_ins` would delete anything."""
    times = {"ended_before": ended_before, "checked_in_before": checked_in_before}
    return bool(connection.scalar(_SOMETHING_TO_PURGE, times))


def stored_check_in(connection: Connection, device: bytes, nonce: bytes) -> StoredAnswer | None:
    """The answer to an earlier check-in with this nonce."""
    row = connection.execute(_STORED_CHECK_IN, {"device": device, "nonce": nonce}).one_or_none()
    return None if row is None else StoredAnswer(row.digest, row.answer)


def add_check_in(
    connection: Connection, *, device: bytes, nonce: bytes, digest: bytes, answer: bytes, now: float
) -> bool:
    """Remember a check-in so that a replay gets the same answer and joins nothing."""
    return inserted(connection, check_ins, device=device, nonce=nonce, digest=digest, answer=answer, received_at=now)


def purge_check_ins(connection: Connection, received_before: float) -> None:
    """Forget check-ins that the clock-skew rule refuses by now."""
    connection.execute(delete(check_ins).where(check_ins.c.received_at < received_before))


def _phase(round_id: int, phase: Phase) -> dict[str, Any]:
    return {"round_id": round_id, "phase": phase.value}
