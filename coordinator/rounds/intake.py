"""What a device may say and ask inside a round, and the answers. Idempotent by (session, phase, device).

A message is checked outside of any transaction (membership, signature, shape), against what cannot change any more, and
stored inside a short one that looks at the round's state. Whatever a single device sends is checked here as far as it
can be seen: a message that passes cannot keep the others from finishing.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from coordinator.errors import RequestRefusedError
from coordinator.releases.rollout import offered_notice
from coordinator.rounds import versions
from coordinator.rounds.pace_steering import poll_after_s
from coordinator.rounds.planning import binding_of, decode_plan, run_context, vector_layout
from coordinator.rounds.states import PHASE_OF_STATE, RoundState, has_passed
from coordinator.rounds.waiting import RoundWatch
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, participant_store, round_store
from coordinator.storage.participant_store import Standing
from coordinator.storage.round_store import Round
from coordinator.trust import Trust
from federated_protocol import wire
from federated_protocol.errors import BadSignature, MalformedMessage, ProtocolError
from federated_protocol.messages import (
    Abandoned,
    AbandonReason,
    Confirmation,
    EncryptedShares,
    Finished,
    KeyAdvertisement,
    MaskedInput,
    Message,
    Pending,
    Phase,
    PlanAnswer,
    RefusalReason,
    SignedMessage,
    Unmasking,
)
from federated_protocol.plan import Plan
from federated_protocol.secure_aggregation import (
    RunContext,
    check_advertisement,
    check_confirmation,
    check_masked_input,
    check_shares,
    check_unmasking,
)
from federated_protocol.signing import open_signed
from federated_protocol.vector_layout import VectorLayout

wire.prepare(Plan)  # many devices at once ask for the first one

ENVELOPE_BYTES = 4096
SHARE_BYTES = 80
"""The ciphertext of one pair of shares."""
REVEAL_BYTES = 33
"""One revealed share and its bit."""

ROUNDS_KEPT = 128
"""Cohorts of them."""

V = TypeVar("V")

_KIND: dict[Phase, type[Message]] = {
    Phase.ADVERTISE: KeyAdvertisement,
    Phase.SHARE: EncryptedShares,
    Phase.MASKED_INPUT: MaskedInput,
    Phase.CONFIRM: Confirmation,
    Phase.UNMASK: Unmasking,
}


@dataclass(frozen=True, slots=True)
class _Planned:
    """What is settled with a round's plan."""

    encoded: bytes
    binding: bytes
    """What signatures over key advertisements cover."""
    layout: VectorLayout
    public_keys: Mapping[bytes, bytes]
    """Of those who were selected, by device."""


@dataclass(frozen=True, slots=True)
class _Members:
    """Roster indices; settled once the masked inputs are in."""

    index: Mapping[bytes, int]
    """By device."""
    sharers: frozenset[int]
    """U2."""
    alive: frozenset[int]
    """U3."""


class _Settled(Generic[V]):
    """Remembers something of the last few rounds by session once it cannot change any more; None until then."""

    def __init__(self, read: Callable[[str], V | None]) -> None:
        self._read = read
        self._kept: dict[str, V] = {}

    def __call__(self, session: str) -> V | None:
        found = self._kept.get(session)
        if found is None and (found := self._read(session)) is not None:
            if len(self._kept) >= ROUNDS_KEPT:
                self._kept.clear()
            self._kept[session] = found
        return found


class Intake:
    """Accepts the messages of a round and hands out the results of its phases.

    Parameters
    ----------
    trust
        Its list is passed on to devices.
    wake
        Called when the last expected message of a phase has arrived, so that the phase closes at once.
    watch
        Lets requests wait for a result; by default none does.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        trust: Trust,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
        watch: RoundWatch | None = None,
    ) -> None:
        self._clock = clock
        self._watch = watch or RoundWatch()
        self._pace = settings.pace
        self._database = database
        self._trust = trust
        self._first_percent = settings.releases.rollout_stages[0]
        self._wake = wake
        # Copies of what cannot change any more: each of n devices would read and decode it otherwise.
        self._planned = _Settled(self._read_plan)
        self._context = _Settled(self._read_context)
        self._members = _Settled(self._read_members)
        self._growth: dict[int, tuple[RoundState, int, float]] = {}

    def _poll_after_s(self, seen: Standing) -> float:
        now = self._clock()
        return poll_after_s(
            seen.still_in * seen.cohorts,
            now - seen.state_since,
            seen.deadline - now,
            self._pace,
            random.random(),
            answered=seen.answers * seen.cohorts,
            idle_s=now - self._last_answer_at(seen, now),
        )

    def _last_answer_at(self, seen: Standing, now: float) -> float:
        """When the number of answers was first seen as high as it is; a guide for pauses, each process has its own."""
        known = self._growth.get(seen.round_id)
        if known is None or known[:2] != (seen.state, seen.answers):
            if len(self._growth) >= ROUNDS_KEPT:
                self._growth.clear()
            known = self._growth[seen.round_id] = (seen.state, seen.answers, now)
        return known[2]

    def size_limit(self, session: str, phase: Phase) -> int:
        """Largest request body for a phase of this session, bytes; raises for an unknown session."""
        if phase in (Phase.ADVERTISE, Phase.CONFIRM):  # always small: whether there is such a session, is asked later
            return ENVELOPE_BYTES
        if phase is Phase.MASKED_INPUT:
            planned = self._planned(session)
            return ENVELOPE_BYTES + (0 if planned is None else planned.layout.packed_bytes)
        context = self._context(session)
        each = SHARE_BYTES if phase is Phase.SHARE else REVEAL_BYTES
        return ENVELOPE_BYTES + (0 if context is None else each * context.parameters.n)

    def submit(
        self, session: str, phase: Phase, signed: SignedMessage, size_bytes: int, now: float, wait_s: float = 0.0
    ) -> bytes:
        """Store one message of a device; returns the encoded answer.

        That is ``Pending`` or ``Abandoned``, or with ``wait_s`` the phase's result if it comes in time, as for
        :meth:`result`: it saves the device from asking.

        Raises
        ------
        RequestRefusedError
            unknown session, not a participant, wrong signature, malformed, wrong phase, conflicting repeat.
        """
        answer, seen = self._stored(session, phase, signed, size_bytes, now)
        if not wait_s:
            return answer
        return self._awaited(session, phase, signed.device, wait_s, self._outcome_of(phase), lambda _: answer, seen)

    def _stored(
        self, session: str, phase: Phase, signed: SignedMessage, size_bytes: int, now: float
    ) -> tuple[bytes, Standing | None]:
        """The answer to a message, and how its device stood when it was stored, if others are still missing then."""
        planned, context = self._planned(session), None if phase is Phase.ADVERTISE else self._context(session)
        if planned is None or (context is None and phase is not Phase.ADVERTISE):
            return self._not_taken(self._seen(session, phase, signed.device), phase), None
        known = planned.public_keys.get(signed.device)
        public_key = known or self._seen(session, phase, signed.device).public_key or b""
        binding = planned.binding if context is None else context.digest
        try:
            message: Message = open_signed(signed, _KIND[phase], phase, session, public_key, binding=binding)
        except BadSignature as error:
            raise RequestRefusedError(RefusalReason.BAD_SIGNATURE, str(error)) from None
        except MalformedMessage as error:
            raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None
        if not self._check(session, signed.device, message, planned, context):
            return self._not_taken(self._seen(session, phase, signed.device), phase), None
        digest = hashlib.sha256(signed.payload).digest()
        with self._database.writing() as connection:
            seen = _selected(participant_store.standing(connection, session, phase, signed.device, hold=True))
            if (repeated := _repeated(seen, digest)) is not None:
                return repeated, None
            if seen.state is RoundState.ABANDONED:
                return _abandoned(seen), None
            _expect_phase(seen, phase)
            answer = _pending(self._poll_after_s(seen))
            stored = message_store.add_message(
                connection,
                round_id=seen.round_id,
                phase=phase,
                device=signed.device,
                digest=digest,
                payload=signed.payload,
                signature=signed.signature,
                answer=answer,
                size_bytes=size_bytes,
                now=now,
            )
        if not stored:
            return _repeated(self._seen(session, phase, signed.device), digest) or answer, None
        if seen.answers + 1 >= seen.still_in:
            self._wake()
            return answer, None
        return answer, seen

    @staticmethod
    def _not_taken(seen: Standing, phase: Phase) -> bytes:
        """Say why a message does not fit where its round stands."""
        if seen.state is RoundState.ABANDONED:
            return _abandoned(seen)
        _expect_phase(seen, phase)
        # The round moved on between two looks at it.
        raise RequestRefusedError(RefusalReason.UNAVAILABLE, "the round is just moving on: send the message again")

    def plan(self, session: str, device: bytes, wait_s: float = 0.0) -> bytes:
        """The plan of a selected device's cohort, ``Pending`` while selecting, ``Abandoned`` after that.

        A device asks with the session of its selection; the plan names that of the cohort it was dealt to.

        ``wait_s`` as for :meth:`result`.
        """

        def answer(_connection: Connection, seen: Standing) -> bytes | None:
            planned = self._planned(seen.session) if seen.has_plan else None
            if planned is None:
                return None
            if seen.dropped_in is not None:
                raise _out()
            return wire.encode(PlanAnswer(plan=planned.encoded, trust=self._trust.encoded()))

        def pending(seen: Standing) -> bytes:  # growing: a selection may wait for the round before it to end
            elapsed_s = self._clock() - seen.state_since
            return _pending(poll_after_s(seen.still_in * seen.cohorts, elapsed_s, 0.0, self._pace, 0.0))

        return self._awaited(session, Phase.ADVERTISE, device, wait_s, answer, pending)

    def result(self, session: str, phase: Phase, device: bytes, wait_s: float = 0.0) -> bytes:
        """The outcome of a phase for this device, or ``Pending``, or ``Abandoned``.

        An open phase is waited for up to ``wait_s`` seconds where there is room to.
        """

        def pending(seen: Standing) -> bytes:
            return _pending(self._poll_after_s(seen))

        return self._awaited(session, phase, device, wait_s, self._outcome_of(phase), pending)

    def _awaited(
        self,
        session: str,
        phase: Phase,
        device: bytes,
        wait_s: float,
        answer: Callable[[Connection, Standing], bytes | None],
        pending: Callable[[Standing], bytes],
        seen: Standing | None = None,
    ) -> bytes:
        """The answer, as soon as there is one; with ``seen``, not before the round has left that state."""
        with self._watch.place(device, wait_s) as moved:
            while seen is None or moved(seen.session, seen.state):
                with self._database.reading() as connection:
                    seen = self._dealt(connection, session, phase, device)
                    found = _abandoned(seen) if seen.state is RoundState.ABANDONED else answer(connection, seen)
                if found is not None:
                    return found
        return pending(seen)

    def _outcome_of(self, phase: Phase) -> Callable[[Connection, Standing], bytes | None]:
        return lambda connection, seen: self._outcome(connection, seen, phase)

    def _outcome(self, connection: Connection, seen: Standing, phase: Phase) -> bytes | None:
        if phase is Phase.UNMASK:
            # A device whose input is in the sum hears how it ended, even if it was too late to unmask.
            if not seen.answered(Phase.MASKED_INPUT):
                raise _out()
            if seen.state is not RoundState.PUBLISHED:
                return None
            notice = offered_notice(connection, seen.device, self._first_percent)
            finished = Finished(current=notice, participants=seen.inputs or 0)
            return versions.encode(finished, seen.protocol_version or versions.NEWEST)
        if not seen.answered(phase):
            raise _out()
        if not has_passed(seen.state, phase):
            return None
        found = message_store.result(connection, seen.round_id, phase, seen.device)
        if found is None:
            raise _unknown_session()
        return found

    def _dealt(self, connection: Connection, session: str, phase: Phase, device: bytes) -> Standing:
        """How a device stands in its cohort, which it may not know yet: it asks with the session of its selection."""
        seen = participant_store.standing(connection, session, phase, device)
        if seen is not None and seen.public_key is None and seen.cohorts > 1:
            row = round_store.round_by_session(connection, session)
            cohort = None if row is None else round_store.cohort_of(connection, row, device)
            if cohort is not None:
                seen = participant_store.standing(connection, cohort.session, phase, device)
        return _selected(seen)

    def _seen(self, session: str, phase: Phase, device: bytes) -> Standing:
        with self._database.reading() as connection:
            return _selected(participant_store.standing(connection, session, phase, device))

    def _read_plan(self, session: str) -> _Planned | None:
        with self._database.reading() as connection:
            row = _known(round_store.round_by_session(connection, session))
            if row.plan is None:
                return None
            members = participant_store.all_participants(connection, row.id)
        return _Planned(
            row.plan,
            binding_of(row, Phase.ADVERTISE),
            vector_layout(decode_plan(row.plan)),
            {member.device: member.public_key for member in members},
        )

    def _read_context(self, session: str) -> RunContext | None:
        with self._database.reading() as connection:
            row = _known(round_store.round_by_session(connection, session))
        return None if row.root is None else run_context(row)

    def _read_members(self, session: str) -> _Members | None:
        with self._database.reading() as connection:
            row = _known(round_store.round_by_session(connection, session))
            if row.inputs is None or row.purged:
                return None
            members = participant_store.all_participants(connection, row.id)
        return _Members(
            index={m.device: m.position for m in members if m.position},
            sharers=frozenset(m.position for m in members if m.position and m.answered(Phase.SHARE)),
            alive=frozenset(m.position for m in members if m.position and m.answered(Phase.MASKED_INPUT)),
        )

    def _check(
        self, session: str, device: bytes, message: Message, planned: _Planned, context: RunContext | None
    ) -> bool:
        """Refuse what would break the round for others by its shape alone; False when it is too early to tell."""
        try:
            if isinstance(message, KeyAdvertisement):
                check_advertisement(message)
                return True
            assert context is not None  # as for every later phase
            if isinstance(message, EncryptedShares):
                check_shares(message, context)
            elif isinstance(message, MaskedInput):
                check_masked_input(message, planned.layout)
            elif (members := self._members(session)) is None:
                return False
            elif isinstance(message, Confirmation):
                check_confirmation(message, context, members.alive)
            elif isinstance(message, Unmasking):
                check_unmasking(message, members.index.get(device, 0), context.graph, members.sharers, members.alive)
        except ProtocolError as error:
            raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None
        return True


def _known(row: Round | None) -> Round:
    if row is None:
        raise _unknown_session()
    return row


def _selected(seen: Standing | None) -> Standing:
    if seen is None or seen.purged:
        raise _unknown_session()
    if seen.public_key is None:
        raise RequestRefusedError(
            RefusalReason.NOT_A_PARTICIPANT, "this device was not selected for the session: check in first"
        )
    return seen


def _repeated(seen: Standing, digest: bytes) -> bytes | None:
    """The stored answer, if this device said the same before."""
    if seen.digest is None:
        return None
    if seen.digest != digest:
        raise RequestRefusedError(
            RefusalReason.CONFLICTING_REPEAT,
            "this device already sent something else in this phase: the first message stands",
        )
    return seen.answer


def _expect_phase(seen: Standing, phase: Phase) -> None:
    if seen.dropped_in is not None:
        raise _out()
    if PHASE_OF_STATE.get(seen.state) is not phase:
        raise RequestRefusedError(
            RefusalReason.WRONG_PHASE, f"the round does not take {phase.value} messages now: ask for its state"
        )


def _pending(retry_after_s: float) -> bytes:
    return wire.encode(Pending(retry_after_s=retry_after_s))


def _abandoned(seen: Standing) -> bytes:
    return wire.encode(Abandoned(reason=seen.reason or AbandonReason.OPERATOR))


def _out() -> RequestRefusedError:
    return RequestRefusedError(
        RefusalReason.WRONG_PHASE, "this device missed a phase and is out of the round: forget it and check in again"
    )


def _unknown_session() -> RequestRefusedError:
    return RequestRefusedError(
        RefusalReason.UNKNOWN_SESSION, "no such session, or it is over: forget it and check in again"
    )
