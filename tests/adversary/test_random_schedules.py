"""Whatever messages are lost, repeated or late, and whoever crashes: the sum is the plain sum, or nothing is opened.

A state machine drives real clients and the coordinator's functions on stored bytes alone. The coordinator "crashes" by
forgetting everything but what it stored; a device crashes by forgetting its secrets, and is out for good. One that
comes back after that has its identity key and nothing else: it may begin anew while keys are still advertised and it
had not been heard, and is refused, by the coordinator or by itself, in every other case.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from federated_protocol import wire
from federated_protocol.errors import ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import (
    Confirmation,
    EncryptedShares,
    KeyAdvertisement,
    MaskedInput,
    Phase,
    SignedMessage,
    Unmasking,
)
from federated_protocol.secure_aggregation import (
    Advertised,
    Directory,
    MaskedSum,
    check_confirmation,
    check_masked_input,
    check_shares,
    check_unmasking,
    confirmations,
    indices_of,
    route,
    smallest_survival,
    solve,
    unmask,
)
from federated_protocol.signing import open_signed

KINDS = {
    Phase.ADVERTISE: KeyAdvertisement,
    Phase.SHARE: EncryptedShares,
    Phase.MASKED_INPUT: MaskedInput,
    Phase.CONFIRM: Confirmation,
    Phase.UNMASK: Unmasking,
}
PHASES = list(Phase)


class Schedule(RuleBasedStateMachine):
    """One round of up to 14 devices."""

    kit: ClassVar[Any]

    @initialize(n=st.integers(2, 14), sparse=st.booleans(), seed=st.integers(0, 10**6))
    def begin(self, n: int, sparse: bool, seed: int) -> None:
        self.layout = self.kit.layout([(12, 13), (2, 24)])
        self.sparse = sparse and n >= 8
        threat = self.kit.sparse if self.sparse else self.kit.threat
        self.cohort = self.kit.Cohort(
            self.kit.vectors(n, self.layout, seed), self.layout, threat=threat, sparse=self.sparse, seed=seed
        )
        self.stored: dict[Phase, dict[int, bytes]] = {phase: {} for phase in Phase}
        self.outbox = {i: wire.encode(signed) for i, signed in self.cohort.signed[Phase.ADVERTISE].items()}
        self.phase = Phase.ADVERTISE
        self.out: set[int] = set()
        self.ended = ""
        self.opened: Any = None
        self.random = random.Random(seed)

    # -- devices and the network ---------------------------------------------------------------------------------

    @precondition(lambda self: not self.ended and self.outbox)
    @rule(data=st.data())
    def some_messages_arrive(self, data: st.DataObject) -> None:
        waiting = sorted(self.outbox)
        count = data.draw(st.integers(1, len(waiting)))
        for i in self.random.sample(waiting, count):
            self.deliver(i, self.outbox[i])
            if self.random.random() < 0.9:  # the answer may be lost: the device sends the same bytes again
                del self.outbox[i]

    @precondition(lambda self: not self.ended and len(self.stored[self.phase]) > 1)
    @rule(data=st.data())
    def a_message_arrives_again(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.stored[self.phase])))
        self.deliver(i, self.stored[self.phase][i])

    @precondition(lambda self: not self.ended and len(self.out) < 3)
    @rule(data=st.data())
    def a_device_crashes(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.cohort.clients)))
        self.cohort.clients[i].forget()
        self.outbox.pop(i, None)
        self.out.add(i)

    @precondition(lambda self: not self.ended and len(self.out) < 3)
    @rule(data=st.data())
    def a_device_restarts(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.cohort.clients)))
        before = self.cohort.clients[i]
        before.forget()
        fresh = random.Random(self.random.getrandbits(64))  # not drawn: shrinking would give two devices one key
        self.cohort.clients[i] = anew = self.cohort.new_client(i, fresh)
        envelope = wire.encode(self.signed(i, Phase.ADVERTISE, anew.advertise()))
        self.outbox.pop(i, None)
        if self.phase is Phase.ADVERTISE and i not in self.stored[Phase.ADVERTISE]:
            self.outbox[i] = envelope
            return
        self.out.add(i)
        known = self.stored[Phase.ADVERTISE].get(i)
        assert known != envelope  # other bytes for an answered phase: the coordinator keeps the first
        if known is not None and self.phase is not Phase.ADVERTISE:
            with pytest.raises(ProtocolError) as refused:
                anew.share(self.directory().roster(self.index()[i]))
            assert refused.value.reason is Reason.BAD_PROOF  # the keys under the root are none of its own
        else:
            anew.forget()

    @precondition(lambda self: not self.ended)
    @rule()
    def the_coordinator_restarts(self) -> None:
        """What was committed is all that is left."""
        kept = msgspec.msgpack.encode(self.stored)
        self.stored = msgspec.msgpack.decode(kept, type=dict[Phase, dict[int, bytes]])

    def deliver(self, i: int, envelope: bytes) -> None:
        """The coordinator's intake: identical repeats change nothing."""
        known = self.stored[self.phase].get(i)
        assert known in (None, envelope)
        signed = wire.decode(envelope, SignedMessage)
        message = self.opened_message(i, self.phase, signed)
        if self.phase is Phase.SHARE:
            check_shares(message, self.directory().context)
        elif self.phase is Phase.MASKED_INPUT:
            check_masked_input(message, self.layout)
        elif self.phase is Phase.CONFIRM:
            check_confirmation(message, self.directory().context, self.indices(Phase.MASKED_INPUT))
        elif self.phase is Phase.UNMASK:
            index, graph = self.index()[i], self.directory().context.graph
            check_unmasking(message, index, graph, self.indices(Phase.SHARE), self.indices(Phase.MASKED_INPUT))
        self.stored[self.phase][i] = envelope

    # -- the coordinator, from stored bytes alone ----------------------------------------------------------------

    def opened_message(self, i: int, phase: Phase, signed: SignedMessage) -> Any:
        binding = self.cohort.binding.digest if phase is Phase.ADVERTISE else self.directory().context.digest
        key = self.cohort.identities[i].public_key
        return open_signed(signed, KINDS[phase], phase, self.cohort.binding.session, key, binding=binding)

    def said(self, phase: Phase) -> dict[int, Any]:
        return {
            i: self.opened_message(i, phase, wire.decode(envelope, SignedMessage))
            for i, envelope in self.stored[phase].items()
        }

    def directory(self) -> Directory:
        members = {}
        for i, envelope in self.stored[Phase.ADVERTISE].items():
            signed = wire.decode(envelope, SignedMessage)
            identity = self.cohort.identities[i]
            keys = wire.decode(signed.payload, KeyAdvertisement)
            members[identity.fingerprint] = Advertised(
                identity.public_key, self.cohort.certificates[i], keys, signed.signature
            )
        parameters = solve(len(members), self.cohort.threat) if self.sparse else None
        return Directory(self.cohort.binding, members, self.cohort.threat, parameters)

    def index(self) -> dict[int, int]:
        names = indices_of(self.cohort.identities[i].fingerprint for i in self.stored[Phase.ADVERTISE])
        return {i: names[self.cohort.identities[i].fingerprint] for i in self.stored[Phase.ADVERTISE]}

    def indices(self, phase: Phase) -> list[int]:
        index = self.index()
        return sorted(index[i] for i in self.stored[phase])

    @rule()
    def time_passes(self) -> None:
        """Nothing happens."""

    @precondition(
        lambda self: not self.ended and len(self.stored[self.phase]) >= max(2, 0.6 * len(self.cohort.clients))
    )
    @rule()
    def the_phase_is_closed(self) -> None:
        """At its deadline: whoever did not answer is out."""
        directory, index = self.directory(), self.index()
        context = directory.context
        answered = self.stored[self.phase]
        if self.phase is not Phase.ADVERTISE:
            owners = self.indices(Phase.SHARE)
            present = set(self.indices(self.phase))
            needed = context.parameters.threshold
            if self.phase in (Phase.SHARE, Phase.MASKED_INPUT):
                needed = smallest_survival(context.parameters, self.cohort.threat)
            if len(present) < needed or not context.graph.reaches_threshold(owners, present):
                self.ended = "too few"
                return
        if self.phase is Phase.UNMASK:
            self.finish()
            return
        following = PHASES[PHASES.index(self.phase) + 1]
        answers = self.answers(directory, index)
        self.outbox = {}
        for i in sorted(answered):
            if i in self.out:
                continue
            try:
                said = self.next_message(i, following, answers)
            except ProtocolError as error:
                # An honest coordinator loses a device only when too few of its neighbours are left.
                if error.reason not in (Reason.BELOW_THRESHOLD, Reason.TOO_MANY_DROPPED):
                    raise
                self.out.add(i)
                continue
            self.outbox[i] = wire.encode(self.signed(i, following, said))
        self.phase = following

    def answers(self, directory: Directory, index: dict[int, int]) -> dict[int, Any]:
        if self.phase is Phase.ADVERTISE:
            return {i: directory.roster(index[i]) for i in self.stored[self.phase]}
        back = {place: i for i, place in index.items()}
        if self.phase is Phase.SHARE:
            shared = ((index[i], message) for i, message in self.said(Phase.SHARE).items())
            return {back[place]: box for place, box in route(shared, directory.context.graph)}
        if self.phase is Phase.MASKED_INPUT:
            alive = self.indices(Phase.MASKED_INPUT)
            return {i: directory.survivors(index[i], alive, 2) for i in self.stored[self.phase]}
        signatures = {
            index[i]: wire.decode(envelope, SignedMessage).signature
            for i, envelope in self.stored[Phase.CONFIRM].items()
        }
        return {i: confirmations(index[i], signatures, directory.context) for i in self.stored[self.phase]}

    def next_message(self, i: int, phase: Phase, answers: dict[int, Any]) -> Any:
        client = self.cohort.clients[i]
        answer = wire.decode(wire.encode(answers[i]), type(answers[i]))
        if phase is Phase.SHARE:
            return client.share(answer)
        if phase is Phase.MASKED_INPUT:
            return client.masked_input(answer, self.cohort.vectors[i])
        return client.confirm(answer) if phase is Phase.CONFIRM else client.unmask(answer)

    def signed(self, i: int, phase: Phase, message: Any) -> SignedMessage:
        self.cohort.send(i, phase, message)
        found: SignedMessage = self.cohort.signed[phase][i]
        return found

    def finish(self) -> None:
        index = self.index()
        total = MaskedSum(self.layout)
        for i, message in self.said(Phase.MASKED_INPUT).items():
            total.add(index[i], message)
        advertised = {index[i]: m for i, m in self.said(Phase.ADVERTISE).items()}
        shared = {index[i]: m for i, m in self.said(Phase.SHARE).items()}

        class Stored:
            def mask_key(self, place: int) -> bytes:
                found: bytes = advertised[place].mask_key
                return found

            def seed_commitment(self, place: int) -> bytes:
                found: bytes = shared[place].seed_commitment
                return found

        unmaskings = {index[i]: m for i, m in self.said(Phase.UNMASK).items()}
        self.opened = unmask(
            self.directory().context, Stored(), list(shared), self.indices(Phase.MASKED_INPUT), total, unmaskings
        )
        self.ended = "opened"

    @invariant()
    def the_sum_is_the_plain_sum(self) -> None:
        if getattr(self, "opened", None) is None:
            return
        moduli = np.array([f.modulus for f in self.layout.fields for _ in range(f.length)], dtype=np.uint64)
        plain = sum(self.cohort.vectors[i].astype(np.uint64) for i in self.stored[Phase.MASKED_INPUT])
        assert np.array_equal(self.opened, plain % moduli)

    @invariant()
    def nobody_holds_secrets_after_the_end(self) -> None:
        for client in getattr(self, "cohort", None).clients.values() if hasattr(self, "cohort") else ():
            if client.state.value in ("done", "aborted"):
                assert client._secrets is None


def test_any_schedule_gives_the_plain_sum_or_nothing(kit: Any) -> None:
    Schedule.kit = kit
    run_state_machine_as_test(
        Schedule,
        settings=settings(
            max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_the_machine_does_reach_opened_sums(kit: Any, sparse: bool) -> None:
    """So that the property above is not true of nothing."""
    Schedule.kit = kit
    machine = Schedule()
    machine.begin(n=12, sparse=sparse, seed=5)
    for _ in Phase:
        for i in sorted(machine.outbox):
            machine.deliver(i, machine.outbox[i])
        machine.the_phase_is_closed()
    assert machine.ended == "opened"
    machine.the_sum_is_the_plain_sum()
