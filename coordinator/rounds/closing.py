"""Close one step of secure aggregation: who answered, who is out, and what everybody gets for the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection

from coordinator.storage import message_store, round_store
from coordinator.storage.message_store import EVERYBODY
from coordinator.storage.round_store import Participant, Round
from federated_protocol import wire
from federated_protocol.messages import EncryptedShares, KeyAdvertisement, Phase, Survivors
from federated_protocol.secure_aggregation import SMALLEST_COHORT, build_roster, indices_of, route

COUNT_COLUMN: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.ADVERTISE: "advertised",
        Phase.SHARE: "shared",
        Phase.MASKED_INPUT: "inputs",
        Phase.UNMASK: "unmasked",
    }
)
"""The column of ``rounds`` that counts who answered a phase."""


@dataclass(frozen=True, slots=True)
class ClosedPhase:
    """How a phase ended."""

    answered: int
    """Devices still in."""
    bytes_down: int
    """Size of what all of them will fetch together."""
    threshold: int | None = None
    """t, known once U1 is."""


def close_phase(connection: Connection, row: Round, phase: Phase) -> ClosedPhase:
    """Drop whoever did not answer ``phase`` and store its result, in the caller's transaction.

    With fewer devices than the quorum nothing is stored: the caller abandons the round.
    """
    present = [p for p in round_store.all_participants(connection, row.id) if p.dropped_in is None]
    answered = set(message_store.devices_that_answered(connection, row.id, phase))
    if phase is Phase.ADVERTISE:
        return _close_advertising(connection, row, present, answered)
    round_store.drop(connection, row.id, [p.device for p in present if p.device not in answered], phase)
    if len(answered) < row.quorum:
        return ClosedPhase(len(answered), 0)
    if phase is Phase.SHARE:
        return _close_sharing(connection, row, present)
    survivors = Survivors(indices=tuple(sorted(p.position or 0 for p in present if p.device in answered)))
    return _same_for_all(connection, row, Phase.MASKED_INPUT, wire.encode(survivors), len(answered))


def _close_advertising(
    connection: Connection, row: Round, present: list[Participant], answered: set[bytes]
) -> ClosedPhase:
    advertisements: dict[bytes, KeyAdvertisement] = {}
    seen: set[bytes] = set()
    for device, payload in message_store.payloads(connection, row.id, Phase.ADVERTISE):
        message: KeyAdvertisement = wire.decode(payload, KeyAdvertisement)
        keys = {message.cipher_key, message.mask_key}
        if not keys & seen:  # whoever repeats another device's key is out; the cohort goes on
            advertisements[device] = message
        seen |= keys
    missing = [p.device for p in present if p.device not in advertisements]
    round_store.drop(connection, row.id, missing, Phase.ADVERTISE)
    if len(advertisements) < max(row.quorum, SMALLEST_COHORT):
        return ClosedPhase(len(advertisements), 0)
    roster = build_roster(advertisements)
    round_store.set_positions(connection, row.id, indices_of(advertisements))
    closed = _same_for_all(connection, row, Phase.ADVERTISE, wire.encode(roster), len(advertisements))
    return ClosedPhase(closed.answered, closed.bytes_down, roster.threshold)


def _close_sharing(connection: Connection, row: Round, present: list[Participant]) -> ClosedPhase:
    device_of = {p.position or 0: p.device for p in present}
    position_of = {p.device: p.position or 0 for p in present}
    shared = (
        (position_of[device], wire.decode(payload, EncryptedShares))
        for device, payload in message_store.payloads(connection, row.id, Phase.SHARE)
    )
    answers = {device_of[index]: wire.encode(mailbox) for index, mailbox in route(shared).items()}
    message_store.put_results(connection, row.id, Phase.SHARE, answers)
    return ClosedPhase(len(answers), sum(map(len, answers.values())))


def _same_for_all(connection: Connection, row: Round, phase: Phase, answer: bytes, devices: int) -> ClosedPhase:
    message_store.put_results(connection, row.id, phase, {EVERYBODY: answer})
    return ClosedPhase(devices, len(answer) * devices)
