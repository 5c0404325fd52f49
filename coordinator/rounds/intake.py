"""What a device may say and ask inside a round, and the answers. Idempotent by (session, phase, device).

A message is checked outside of any lock (membership, signature, shape) and stored inside a short transaction that looks
at the round's state again. Whatever a single device sends is checked here as far as it can be seen: a message that
passes cannot keep the others from finishing.
"""

from __future__ import annotations

import functools
import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from coordinator.errors import RequestRefusedError
from coordinator.releases.rollout import offered_model
from coordinator.rounds.pace_steering import poll_after_s
from coordinator.rounds.planning import binding_of, decode_plan, run_context, vector_layout
from coordinator.rounds.states import PHASE_OF_STATE, RoundState, has_passed
from coordinator.rounds.waiting import RoundWatch
from coordinator.settings import Settings
from coordinator.storage import Database, message_store, round_store
from coordinator.storage.round_store import Participant, Round
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
from federated_protocol.secure_aggregation import (
    check_advertisement,
    check_confirmation,
    check_masked_input,
    check_shares,
    check_unmasking,
)
from federated_protocol.signing import open_signed

ENVELOPE_BYTES = 4096
SHARE_BYTES = 80
"""The ciphertext of one pair of shares."""
REVEAL_BYTES = 33
"""One revealed share and its bit."""

_KIND: dict[Phase, type[Message]] = {
    Phase.ADVERTISE: KeyAdvertisement,
    Phase.SHARE: EncryptedShares,
    Phase.MASKED_INPUT: MaskedInput,
    Phase.CONFIRM: Confirmation,
    Phase.UNMASK: Unmasking,
}


@dataclass(frozen=True, slots=True)
class _View:
    """What one request saw of its round, before any lock."""

    row: Round
    participant: Participant


@dataclass(frozen=True, slots=True)
class _Members:
    """Roster indices; settled once the masked inputs are in."""

    sharers: frozenset[int]
    """U2."""
    alive: frozenset[int]
    """U3."""


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
        # A copy of what cannot change any more: each of n devices would read n rows otherwise.
        self._members = functools.lru_cache(maxsize=128)(self._read_members)

    def _poll_after_s(self, row: Round) -> float:
        now = self._clock()
        return poll_after_s(
            row.still_in * row.cohorts, now - row.state_since, row.deadline - now, self._pace, random.random()
        )

    def size_limit(self, session: str, phase: Phase) -> int:
        """Largest request body for a phase of this session, bytes; raises for an unknown session."""
        with self._database.reading() as connection:
            row = round_store.round_by_session(connection, session)
        if row is None:
            raise _unknown_session()
        if phase is Phase.SHARE:
            return ENVELOPE_BYTES + SHARE_BYTES * (row.advertised or 0)
        if phase is Phase.MASKED_INPUT and row.plan is not None:
            return ENVELOPE_BYTES + vector_layout(decode_plan(row.plan)).packed_bytes
        if phase is Phase.UNMASK:
            return ENVELOPE_BYTES + REVEAL_BYTES * (row.advertised or 0)
        return ENVELOPE_BYTES

    def submit(self, session: str, phase: Phase, signed: SignedMessage, size_bytes: int, now: float) -> bytes:
        """Store one message of a device; returns the encoded answer (``Pending`` or ``Abandoned``).

        Raises
        ------
        RequestRefusedError
            unknown session, not a participant, wrong signature, malformed, wrong phase, conflicting repeat.
        """
        view = self._view(session, signed.device)
        if view.row.plan is None or (phase is not Phase.ADVERTISE and view.row.root is None):
            if view.row.state is RoundState.ABANDONED:
                return _abandoned(view.row)
            _expect_phase(view.row, view.participant, phase)
        try:
            message: Message = open_signed(
                signed,
                _KIND[phase],
                phase,
                session,
                view.participant.public_key,
                binding=binding_of(view.row, phase),
            )
        except BadSignature as error:
            raise RequestRefusedError(RefusalReason.BAD_SIGNATURE, str(error)) from None
        except MalformedMessage as error:
            raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None
        digest = hashlib.sha256(signed.payload).digest()
        repeated = self._repeated(view.row, phase, signed.device, digest)
        if repeated is not None:
            return repeated
        if view.row.state is RoundState.ABANDONED:
            return _abandoned(view.row)
        _expect_phase(view.row, view.participant, phase)
        self._check(view, message)
        answer = wire.encode(Pending(retry_after_s=self._poll_after_s(view.row)))
        with self._database.writing() as connection:
            row = round_store.round_by_session(connection, session, hold=True)
            member = round_store.participant(connection, view.row.id, signed.device)
            if row is None or member is None:
                raise _unknown_session()
            if row.state is RoundState.ABANDONED:
                return _abandoned(row)
            _expect_phase(row, member, phase)
            stored = message_store.add_message(
                connection,
                round_id=row.id,
                phase=phase,
                device=signed.device,
                digest=digest,
                payload=signed.payload,
                signature=signed.signature,
                answer=answer,
                size_bytes=size_bytes,
                now=now,
            )
            complete = stored and message_store.count_messages(connection, row.id, phase) >= row.still_in
        if not stored:  # the same device was faster on another connection
            return self._repeated(view.row, phase, signed.device, digest) or answer
        if complete:
            self._wake()
        return answer

    def plan(self, session: str, device: bytes, wait_s: float = 0.0) -> bytes:
        """The plan of a selected device's cohort, ``Pending`` while selecting, ``Abandoned`` after that.

        A device asks with the session of its selection; the plan names that of the cohort it was dealt to.

        ``wait_s`` as for :meth:`result`.
        """

        def interval_s(row: Round) -> float:  # growing: a selection may wait for the round before it to end
            return poll_after_s(row.still_in * row.cohorts, self._clock() - row.state_since, 0.0, self._pace, 0.0)

        return self._awaited(session, device, wait_s, self._plan, interval_s)

    def result(self, session: str, phase: Phase, device: bytes, wait_s: float = 0.0) -> bytes:
        """The outcome of a phase for this device, or ``Pending``, or ``Abandoned``.

        An open phase is waited for up to ``wait_s`` seconds where there is room to.
        """

        def outcome(view: _View) -> bytes | None:
            return self._outcome(view, phase, device)

        return self._awaited(session, device, wait_s, outcome, self._poll_after_s)

    def _awaited(
        self,
        session: str,
        device: bytes,
        wait_s: float,
        answer: Callable[[_View], bytes | None],
        poll_after_s: Callable[[Round], float],
    ) -> bytes:
        with self._watch.place(device, wait_s) as moved:
            while True:
                view = self._view(session, device)
                found = _abandoned(view.row) if view.row.state is RoundState.ABANDONED else answer(view)
                if found is not None:
                    return found
                if not moved(session, view.row.state):
                    return wire.encode(Pending(retry_after_s=poll_after_s(view.row)))

    def _plan(self, view: _View) -> bytes | None:
        row = view.row
        if row.state is RoundState.SELECTING or row.plan is None:
            return None
        if view.participant.dropped_in is not None:
            raise _out()
        return wire.encode(PlanAnswer(plan=row.plan, trust=self._trust.encoded()))

    def _outcome(self, view: _View, phase: Phase, device: bytes) -> bytes | None:
        row, member = view.row, view.participant
        if phase is Phase.UNMASK:
            # A device whose input is in the sum hears how it ended, even if it was too late to unmask.
            if not member.answered(Phase.MASKED_INPUT):
                raise _out()
            if row.state is not RoundState.PUBLISHED:
                return None
            with self._database.reading() as connection:
                offered = offered_model(connection, device, self._first_percent)
            return wire.encode(Finished(current=offered.notice, participants=row.inputs or 0))
        if not member.answered(phase):
            raise _out()
        if not has_passed(row.state, phase):
            return None
        with self._database.reading() as connection:
            answer = message_store.result(connection, row.id, phase, device)
        if answer is None:
            raise _unknown_session()
        return answer

    def _view(self, session: str, device: bytes) -> _View:
        with self._database.reading() as connection:
            row = round_store.round_by_session(connection, session)
            if row is None:
                raise _unknown_session()
            member = round_store.participant(connection, row.id, device)
            if member is None and row.cohorts > 1 and (cohort := round_store.cohort_of(connection, row, device)):
                row, member = cohort, round_store.participant(connection, cohort.id, device)
        if row.purged:
            raise _unknown_session()
        if member is None:
            raise RequestRefusedError(
                RefusalReason.NOT_A_PARTICIPANT, "this device was not selected for the session: check in first"
            )
        return _View(row, member)

    def _repeated(self, row: Round, phase: Phase, device: bytes, digest: bytes) -> bytes | None:
        with self._database.reading() as connection:
            earlier = message_store.stored_answer(connection, row.id, phase, device)
        if earlier is None:
            return None
        if earlier.digest != digest:
            raise RequestRefusedError(
                RefusalReason.CONFLICTING_REPEAT,
                "this device already sent something else in this phase: the first message stands",
            )
        return earlier.answer

    def _read_members(self, round_id: int) -> _Members:
        with self._database.reading() as connection:
            members = round_store.all_participants(connection, round_id)
        return _Members(
            sharers=frozenset(m.position for m in members if m.position and m.answered(Phase.SHARE)),
            alive=frozenset(m.position for m in members if m.position and m.answered(Phase.MASKED_INPUT)),
        )

    def _check(self, view: _View, message: Message) -> None:
        """Refuse a message whose shape alone would break the round for others."""
        row, index = view.row, view.participant.position or 0
        try:
            if isinstance(message, KeyAdvertisement):
                check_advertisement(message)
            elif isinstance(message, EncryptedShares):
                check_shares(message, run_context(row))
            elif isinstance(message, MaskedInput):
                check_masked_input(message, vector_layout(decode_plan(row.plan or b"")))
            elif isinstance(message, Confirmation | Unmasking):
                members, context = self._members(row.id), run_context(row)
                if isinstance(message, Confirmation):
                    check_confirmation(message, context, members.alive)
                else:
                    check_unmasking(message, index, context.graph, members.sharers, members.alive)
        except ProtocolError as error:
            raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None


def _expect_phase(row: Round, member: Participant, phase: Phase) -> None:
    if member.dropped_in is not None:
        raise _out()
    if PHASE_OF_STATE.get(row.state) is not phase:
        raise RequestRefusedError(
            RefusalReason.WRONG_PHASE, f"the round does not take {phase.value} messages now: ask for its state"
        )


def _abandoned(row: Round) -> bytes:
    return wire.encode(Abandoned(reason=row.reason or AbandonReason.OPERATOR))


def _out() -> RequestRefusedError:
    return RequestRefusedError(
        RefusalReason.WRONG_PHASE, "this device missed a phase and is out of the round: forget it and check in again"
    )


def _unknown_session() -> RequestRefusedError:
    return RequestRefusedError(
        RefusalReason.UNKNOWN_SESSION, "no such session, or it is over: forget it and check in again"
    )
