"""Close one step of secure aggregation: who answered, who is out, and what everybody gets for the next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

from sqlalchemy import Connection

from coordinator.rounds.planning import decode_plan, run_context
from coordinator.storage import message_store, participant_store
from coordinator.storage.message_store import EVERYBODY
from coordinator.storage.participant_store import Participant
from coordinator.storage.round_store import Round
from federated_protocol import wire
from federated_protocol.messages import EncryptedShares, KeyAdvertisement, Message, Phase
from federated_protocol.secure_aggregation import (
    SMALLEST_COHORT,
    Advertised,
    Directory,
    RoundBinding,
    RunContext,
    confirmations,
    indices_of,
    route,
    smallest_survival,
)

COUNT_COLUMN: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.ADVERTISE: "advertised",
        Phase.SHARE: "shared",
        Phase.MASKED_INPUT: "inputs",
        Phase.CONFIRM: "confirmed",
        Phase.UNMASK: "unmasked",
    }
)
"""The column of ``rounds`` that counts who answered a phase."""

_ANSWERS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ClosedPhase:
    """How a phase ended."""

    answered: int
    """Devices still in."""
    enough: bool
    """Whether the round can go on."""
    bytes_down: int = 0
    """Size of what all of them will fetch together."""
    context: RunContext | None = None
    """The run, when this phase fixed it."""


def close_phase(connection: Connection, row: Round, phase: Phase) -> ClosedPhase:
    """Drop whoever did not answer ``phase`` and store its result, in the caller's transaction.

    When the round cannot go on nothing is stored: the caller abandons it.
    """
    present = [p for p in participant_store.all_participants(connection, row.id) if p.dropped_in is None]
    answered = set(message_store.devices_that_answered(connection, row.id, phase))
    if phase is Phase.ADVERTISE:
        return _close_advertising(connection, row, present)
    participant_store.drop(connection, row.id, [p.device for p in present if p.device not in answered], phase)
    if len(answered) < row.quorum or not can_be_opened(connection, row, phase):
        return ClosedPhase(len(answered), enough=False)
    still_in = {p.position or 0: p.device for p in present if p.device in answered}
    answers = {
        Phase.SHARE: _mailboxes,
        Phase.MASKED_INPUT: _survivors,
        Phase.CONFIRM: _confirmations,
    }[phase](connection, row, still_in)
    return ClosedPhase(len(answered), enough=True, bytes_down=_store(connection, row, phase, answers, len(still_in)))


def can_be_opened(connection: Connection, row: Round, phase: Phase) -> bool:
    """Whether those who answered ``phase`` leave every member of U2 with enough holders of its shares."""
    context = run_context(row)
    answered = set(message_store.devices_that_answered(connection, row.id, phase))
    members = participant_store.all_participants(connection, row.id)
    present = {p.position for p in members if p.position and p.device in answered}
    owners = (
        present if phase is Phase.SHARE else {p.position for p in members if p.position and p.answered(Phase.SHARE)}
    )
    if phase in (Phase.SHARE, Phase.MASKED_INPUT):
        threat = decode_plan(row.plan or b"").aggregation.threat
        if len(present) < smallest_survival(context.parameters, threat):
            return False
    return context.graph.reaches_threshold(owners, present)


def directory_of(connection: Connection, row: Round, members: list[Participant]) -> Directory:
    """U1's directory from what is stored; the graph is the one that was fixed, once it was."""
    plan = decode_plan(row.plan or b"")
    signatures = message_store.signatures(connection, row.id, Phase.ADVERTISE)
    by_device = {member.device: member for member in members}
    advertised = {
        device: Advertised(
            by_device[device].public_key,
            by_device[device].certificate,
            wire.decode(payload, KeyAdvertisement),
            signatures[device],
        )
        for device, payload in message_store.payloads(connection, row.id, Phase.ADVERTISE)
        if device in by_device
    }
    fixed = run_context(row).parameters if row.root is not None else None
    return Directory(RoundBinding.of(plan), advertised, plan.aggregation.threat, fixed)


def _close_advertising(connection: Connection, row: Round, present: list[Participant]) -> ClosedPhase:
    accepted: set[bytes] = set()
    seen: set[bytes] = set()
    for device, payload in message_store.payloads(connection, row.id, Phase.ADVERTISE):
        message: KeyAdvertisement = wire.decode(payload, KeyAdvertisement)
        keys = {message.cipher_key, message.mask_key}
        if not keys & seen:  # whoever repeats another device's key is out; the cohort goes on
            accepted.add(device)
        seen |= keys
    participant_store.drop(connection, row.id, [p.device for p in present if p.device not in accepted], Phase.ADVERTISE)
    if len(accepted) < max(row.quorum, SMALLEST_COHORT):
        return ClosedPhase(len(accepted), enough=False)
    directory = directory_of(connection, row, [p for p in present if p.device in accepted])
    index = indices_of(accepted)
    participant_store.set_positions(connection, row.id, index)
    answers = ((device, directory.roster(place)) for device, place in index.items())
    size = _store(connection, row, Phase.ADVERTISE, answers, len(index))
    return ClosedPhase(len(accepted), enough=True, bytes_down=size, context=directory.context)


def _mailboxes(connection: Connection, row: Round, still_in: dict[int, bytes]) -> Iterator[tuple[bytes, Message]]:
    index = {device: place for place, device in still_in.items()}
    shared = (
        (index[device], wire.decode(payload, EncryptedShares))
        for device, payload in message_store.payloads(connection, row.id, Phase.SHARE)
    )
    for place, mailbox in route(shared, run_context(row).graph):
        yield still_in[place], mailbox


def _survivors(connection: Connection, row: Round, still_in: dict[int, bytes]) -> Iterator[tuple[bytes, Message]]:
    """The same for all, but for devices with so few neighbours that they need further witnesses."""
    everybody = participant_store.all_participants(connection, row.id)
    directory = directory_of(connection, row, [p for p in everybody if p.position])
    smallest = decode_plan(row.plan or b"").aggregation.smallest_aggregate
    members = frozenset(still_in)
    yield EVERYBODY, directory.survivors(min(members), members, 0)
    for place, device in still_in.items():
        if 1 + len(members.intersection(directory.context.graph.neighbours(place))) < smallest:
            yield device, directory.survivors(place, members, smallest)


def _confirmations(connection: Connection, row: Round, still_in: dict[int, bytes]) -> Iterator[tuple[bytes, Message]]:
    context = run_context(row)
    index = {device: place for place, device in still_in.items()}
    signed = message_store.signatures(connection, row.id, Phase.CONFIRM)
    signatures = {index[device]: signature for device, signature in signed.items()}
    for place, device in still_in.items():
        yield device, confirmations(place, signatures, context)


def _store(
    connection: Connection, row: Round, phase: Phase, answers: Iterator[tuple[bytes, Message]], devices: int
) -> int:
    """Store answers a few at a time; returns their size, as all devices together will fetch it."""
    size = common = particular = 0
    while some := {device: wire.encode(answer) for device, answer in islice(answers, _ANSWERS_AT_ONCE)}:
        message_store.put_results(connection, row.id, phase, some)
        common += len(some.pop(EVERYBODY, b""))
        particular += len(some)
        size += sum(map(len, some.values()))
    return size + common * (devices - particular)
