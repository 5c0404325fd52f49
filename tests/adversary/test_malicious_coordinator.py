"""A coordinator that lies to real clients: each lie is refused by its name, and nothing secret leaves the device.

On both graphs: the complete one of a small cohort, and a sparse ring.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.errors import ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Confirmations, KeyAdvertisement, Mailbox, Phase, Roster, Survivors
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import (
    Advertised,
    ClientState,
    Directory,
    GraphParameters,
    confirmations,
    solve,
)
from federated_protocol.secure_aggregation.bitmap import pack_set
from federated_protocol.signing import Identity, sign
from federated_protocol.trust import TrustStore

replace = msgspec.structs.replace


def refuses(client: Any, reason: Reason, call: Callable[[], object]) -> None:
    """``call`` raises ``reason``; the client dropped its secrets and no step gives anything out any more."""
    with pytest.raises(ProtocolError) as caught:
        call()
    assert caught.value.reason is reason
    assert client.state is ClientState.ABORTED
    assert client._secrets is None
    for step in (
        client.advertise,
        lambda: client.share(Roster(2, 1, 2, 1, b"", (), b"")),
        lambda: client.masked_input(Mailbox(b"", b""), np.zeros(20, np.uint32)),
        lambda: client.confirm(Survivors(b"", (), b"")),
        lambda: client.unmask(Confirmations(b"", b"")),
    ):
        with pytest.raises(ProtocolError) as silent:
            step()
        assert silent.value.reason is Reason.ABORTED


@pytest.fixture(params=["complete", "sparse"])
def cohort(request: Any, kit: Any) -> Any:
    """Six devices on the complete graph, or twenty with four neighbours each; all have advertised."""
    shape = kit.layout([(20, 16)])
    if request.param == "complete":
        made = kit.Cohort(kit.vectors(6, shape), shape)
    else:
        made = kit.Cohort(kit.vectors(20, shape), shape, threat=kit.sparse, sparse=True)
    made.build()
    return made


@pytest.fixture
def small(kit: Any) -> Any:
    shape = kit.layout([(20, 16)])
    made = kit.Cohort(kit.vectors(6, shape), shape)
    made.build()
    return made


def advance(cohort: Any, step: str) -> None:
    for name in ("share", "mask", "confirm"):
        getattr(cohort, name)()
        if name == step:
            return


def join(cohort: Any, roster: Roster, reason: Reason, me: int = 1) -> None:
    refuses(cohort.clients[me], reason, lambda: cohort.clients[me].share(roster))


def lied_directory(cohort: Any, change: Callable[[dict[bytes, Advertised]], None]) -> Directory:
    """U1 with something changed in it, and a root, graph and proofs that fit the lie."""
    members = cohort.advertised()
    change(members)
    parameters = cohort.context.parameters if len(members) == cohort.context.parameters.n else None
    return Directory(cohort.binding, members, cohort.threat, parameters)


# -- keys --------------------------------------------------------------------------------------------------------


def test_keys_put_in_the_place_of_a_peers(cohort: Any) -> None:
    me = 1
    victim = sorted(cohort.context.graph.neighbours(me))[0]
    name = cohort.identities[victim].fingerprint

    def swap(members: dict[bytes, Advertised]) -> None:
        theirs = cohort.new_client(victim).advertise()
        members[name] = Advertised(members[name].device_key, members[name].certificate, theirs, members[name].signature)

    # On the sparse graph another root gives another ring; whoever has the victim for a neighbour notices.
    lied = lied_directory(cohort, swap)
    me = next(i for i in cohort.clients if victim in lied.context.graph.neighbours(i))
    join(cohort, lied.roster(me), Reason.BAD_SIGNATURE, me)


def test_a_device_made_up_by_the_coordinator(cohort: Any, kit: Any) -> None:
    """It certifies a key of its own: nobody but the authority can."""
    victim = 2
    name = cohort.identities[victim].fingerprint
    forger = Identity.generate()

    def invent(members: dict[bytes, Advertised]) -> None:
        device = cohort.identities[victim]
        raw = issue(forger, device.public_key, authority_name="test", not_before=0, not_after=1e9).encode()
        members[name] = Advertised(device.public_key, raw, members[name].keys, members[name].signature)

    lied = lied_directory(cohort, invent)
    me = next(i for i in cohort.clients if victim in lied.context.graph.neighbours(i))
    join(cohort, lied.roster(me), Reason.UNCERTIFIED_PEER, me)


@pytest.mark.parametrize("how", ["expired", "revoked", "garbage", "empty"])
def test_a_peer_whose_certificate_does_not_count(cohort: Any, kit: Any, how: str) -> None:
    me = 1
    roster = cohort.roster_of[me]
    peer = roster.entries[0]
    key = cohort.identities[peer.index].public_key
    expired = issue(kit.authority(), key, authority_name="test", not_before=0, not_after=1.0).encode()
    raw = {"expired": expired, "garbage": b"\xc1", "empty": b"", "revoked": peer.certificate}[how]
    if how == "revoked":
        revoked = frozenset([cohort.identities[peer.index].fingerprint])
        store = TrustStore(TrustStore.pinned(kit.authority().public_key).keys, revoked)
        cohort.clients[me]._vouch = lambda certificate: store.verify(certificate, kit.now)
    entries = (replace(peer, certificate=raw), *roster.entries[1:])
    join(cohort, replace(roster, entries=entries), Reason.UNCERTIFIED_PEER)


def test_a_forged_signature_under_a_peers_keys(cohort: Any) -> None:
    roster = cohort.roster_of[1]
    for signature in (bytes(64), b"", roster.entries[1].signature):
        fresh = cohort.new_client(1)
        fresh._own_keys, fresh._secrets = cohort.clients[1]._own_keys, cohort.clients[1]._secrets
        fresh._state = ClientState.ADVERTISED
        entries = (replace(roster.entries[0], signature=signature), *roster.entries[1:])
        refuses(fresh, Reason.BAD_SIGNATURE, lambda e=entries, c=fresh: c.share(replace(roster, entries=e)))


def test_own_keys_exchanged_behind_the_devices_back(cohort: Any) -> None:
    me = 1
    name = cohort.identities[me].fingerprint

    def swap(members: dict[bytes, Advertised]) -> None:
        theirs = cohort.new_client(me).advertise()
        members[name] = Advertised(members[name].device_key, members[name].certificate, theirs, bytes(64))

    join(cohort, lied_directory(cohort, swap).roster(me), Reason.BAD_PROOF)


def test_own_entry_omitted(cohort: Any) -> None:
    lied = lied_directory(cohort, lambda members: members.pop(cohort.identities[1].fingerprint))
    join(cohort, lied.roster(1), Reason.BAD_PROOF)


@pytest.mark.parametrize("change", ["omitted", "added", "reordered", "duplicated", "another index"])
def test_entries_that_are_not_the_neighbours(cohort: Any, change: str) -> None:
    roster = cohort.roster_of[1]
    entries = {
        "omitted": roster.entries[1:],
        "added": (*roster.entries, replace(roster.entries[-1], index=roster.entries[-1].index + 1)),
        "reordered": roster.entries[::-1],
        "duplicated": (roster.entries[0], roster.entries[0], *roster.entries[2:]),
        "another index": (replace(roster.entries[0], index=0), *roster.entries[1:]),
    }[change]
    join(cohort, replace(roster, entries=entries), Reason.BAD_NEIGHBOURS)


def test_one_device_listed_under_two_indices(small: Any) -> None:
    roster = small.roster_of[1]
    twice = replace(roster.entries[0], index=roster.entries[1].index)
    entries = (roster.entries[0], twice, *roster.entries[2:])
    join(small, replace(roster, entries=entries), Reason.DUPLICATE_KEY)


def test_a_peer_listed_twice_with_different_keys(small: Any) -> None:
    """Both certified and signed, but the order of fingerprints gives it away."""
    roster = small.roster_of[1]
    first, second = roster.entries[:2]
    other = small.new_client(first.index)
    keys = other.advertise()
    signed = sign(keys, Phase.ADVERTISE, small.binding.session, small.identities[first.index], other.binding)
    twice = replace(
        first, index=second.index, cipher_key=keys.cipher_key, mask_key=keys.mask_key, signature=signed.signature
    )
    join(small, replace(roster, entries=(first, twice, *roster.entries[2:])), Reason.BAD_INDEX)


@pytest.mark.parametrize("what", ["root", "proof", "short proof", "long proof", "index"])
def test_another_root_than_that_of_the_keys_shown(small: Any, what: str) -> None:
    roster = small.roster_of[1]
    lie, reason = {
        "root": (replace(roster, root=bytes(32)), Reason.BAD_PROOF),
        "proof": (replace(roster, proof=bytes(32)), Reason.BAD_PROOF),
        "short proof": (replace(roster, proof=b"x"), Reason.BAD_PROOF),
        "long proof": (replace(roster, proof=bytes(3200)), Reason.BAD_PROOF),
        "index": (replace(roster, index=99), Reason.BAD_INDEX),
    }[what]
    join(small, lie, reason)


def test_a_small_order_point_signed_by_its_owner_is_refused_by_its_peers(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(4, shape), shape)
    bad = KeyAdvertisement(cipher_key=bytes(32), mask_key=b"\1" + bytes(31))
    client = cohort.clients[2]
    identity = cohort.identities[2]
    cohort.signed[Phase.ADVERTISE][2] = sign(bad, Phase.ADVERTISE, cohort.binding.session, identity, client.binding)
    cohort.build()
    join(cohort, cohort.roster_of[1], Reason.BAD_KEY)


# -- graph and sizes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [-1, 0, 1, 2, 3, 7, 100])
def test_a_threshold_outside_the_admissible_range(small: Any, threshold: int) -> None:
    join(small, replace(small.roster_of[1], threshold=threshold), Reason.BAD_THRESHOLD)


def test_too_few_neighbours(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(70, shape), shape, threat=ThreatModel(dropout=0.1))
    found = solve(70, cohort.threat)
    weak = GraphParameters(70, 6, 5)
    assert not found.complete
    lied = Directory(cohort.binding, cohort.advertised(), cohort.threat, weak)
    cohort.context = lied.context
    join(cohort, lied.roster(1), Reason.BAD_NEIGHBOURS)


def test_a_cohort_below_the_floor(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(6, shape), shape, floor=7)
    cohort.build()
    join(cohort, cohort.roster_of[1], Reason.BELOW_FLOOR)


def test_a_cohort_larger_than_the_codec_was_solved_for(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(6, shape), shape)
    cohort.build()
    fresh = cohort.new_client(1, largest_cohort=5)
    fresh.advertise()
    refuses(fresh, Reason.ABOVE_LARGEST_COHORT, lambda: fresh.share(cohort.roster_of[1]))


# -- another plan, model, round, task ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"model_digest": bytes(32)},
        {"plan_digest": bytes(32)},
        {"session": "another"},
        {"task": "another"},
        {"round": 4},
        {"attempt": 2},
        {"version": 2},
    ],
)
def test_a_victim_that_was_given_another_plan_model_round_or_task_accepts_no_peer(
    cohort: Any, changed: dict[str, Any]
) -> None:
    """And its peers do not accept it: the coordinator gets no sum with the victim in it."""
    import dataclasses

    me = 1
    honest = cohort.binding
    cohort.binding = dataclasses.replace(honest, **changed)
    victim = cohort.new_client(me, random.Random(me))
    cohort.clients[me] = victim
    cohort.send(me, Phase.ADVERTISE, victim.advertise())
    cohort.binding = honest
    cohort.build()
    other_ring = "session" in changed and not cohort.context.parameters.complete
    join(cohort, cohort.roster_of[me], Reason.BAD_NEIGHBOURS if other_ring else Reason.BAD_SIGNATURE, me)
    peer = cohort.context.graph.neighbours(me)[0]
    join(cohort, cohort.roster_of[peer], Reason.BAD_SIGNATURE, peer)


@pytest.mark.parametrize(
    "other",
    [{"round": 2, "session": "earlier"}, {"round": 2}, {"task": "another"}, {"attempt": 2}, {"version": 2}],
)
def test_a_key_advertisement_replayed_from_another_round_task_attempt_or_version(
    cohort: Any, other: dict[str, Any]
) -> None:
    import dataclasses

    earlier = dataclasses.replace(cohort.binding, **other)
    peer = cohort.context.graph.neighbours(1)[0]
    keys = wire.decode(cohort.signed[Phase.ADVERTISE][peer].payload, KeyAdvertisement)
    old = sign(keys, Phase.ADVERTISE, earlier.session, cohort.identities[peer], earlier.digest)
    roster = cohort.roster_of[1]
    entries = tuple(replace(e, signature=old.signature) if e.index == peer else e for e in roster.entries)
    join(cohort, replace(roster, entries=entries), Reason.BAD_SIGNATURE)


# -- split views of U1 -------------------------------------------------------------------------------------------


def test_two_devices_that_were_shown_different_sets_of_keys_open_nothing_of_each_other(small: Any) -> None:
    """The whole of U1 to one, all but device 6 to the others: each list is true as far as it goes."""
    part = lied_directory(small, lambda members: members.pop(small.identities[6].fingerprint))
    mine = small.clients[1].share(small.roster_of[1])
    theirs = {i: small.clients[i].share(part.roster(i)) for i in range(2, 6)}
    size = 80
    boxes = {}
    for i, message in theirs.items():
        slot = part.context.graph.neighbours(i).index(1)
        boxes[i] = message.ciphertexts[size * slot : size * (slot + 1)]
    around = small.context.graph.neighbours(1)
    slots = [slot for slot, peer in enumerate(around) if peer in boxes]
    mailbox = Mailbox(pack_set(slots, len(around)), b"".join(boxes[around[slot]] for slot in slots))
    refuses(small.clients[1], Reason.BAD_CIPHERTEXT, lambda: small.clients[1].masked_input(mailbox, small.vectors[1]))
    assert len(mine.ciphertexts) == size * 5


# -- mailboxes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flipped", "swapped", "truncated", "oversized", "stranger"])
def test_shares_that_were_changed_or_misrouted(cohort: Any, how: str) -> None:
    advance(cohort, "share")
    box = cohort.mailboxes[1]
    data = box.ciphertexts
    lie, reason = {
        "flipped": (replace(box, ciphertexts=bytes([data[0] ^ 1]) + data[1:]), Reason.BAD_CIPHERTEXT),
        "swapped": (replace(box, ciphertexts=data[80:160] + data[:80] + data[160:]), Reason.BAD_CIPHERTEXT),
        "truncated": (replace(box, ciphertexts=data[:-1]), Reason.BAD_CIPHERTEXT),
        "oversized": (replace(box, ciphertexts=data + bytes(80)), Reason.BAD_CIPHERTEXT),
        "stranger": (replace(box, senders=box.senders + b"\1"), Reason.BAD_INDEX),
    }[how]
    refuses(cohort.clients[1], reason, lambda: cohort.clients[1].masked_input(lie, cohort.vectors[1]))


def test_too_few_sharers(cohort: Any) -> None:
    advance(cohort, "share")
    box = cohort.mailboxes[1]
    few = Mailbox(senders=b"\1" + bytes(len(box.senders) - 1), ciphertexts=box.ciphertexts[:80])
    refuses(cohort.clients[1], Reason.BELOW_THRESHOLD, lambda: cohort.clients[1].masked_input(few, cohort.vectors[1]))


# -- survivors and confirmations ---------------------------------------------------------------------------------


def survivors_without(cohort: Any, *gone: int, me: int = 1) -> Survivors:
    alive = [i for i in cohort.inputs if i not in gone]
    return cohort.directory.survivors(me, alive, cohort.floor)


def test_a_victim_left_out_of_the_survivors_although_its_input_arrived(cohort: Any) -> None:
    """Its peers would reveal its masking key; it itself refuses to help."""
    advance(cohort, "mask")
    lie = Survivors(survivors_without(cohort, 1, me=2).members, (), b"")
    refuses(cohort.clients[1], Reason.OWN_ENTRY_MISSING, lambda: cohort.clients[1].confirm(lie))


def test_so_few_survivors_that_the_sum_says_something_about_one_device(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(6, shape), shape, floor=5)
    advance(cohort, "mask")
    lie = survivors_without(cohort, 5, 6)
    refuses(cohort.clients[1], Reason.BELOW_FLOOR, lambda: cohort.clients[1].confirm(lie))


def test_fewer_neighbours_left_than_shares_are_needed(cohort: Any) -> None:
    advance(cohort, "mask")
    lie = survivors_without(cohort, *cohort.context.graph.neighbours(1)[:-1])
    refuses(cohort.clients[1], Reason.BELOW_THRESHOLD, lambda: cohort.clients[1].confirm(lie))


def test_more_dropouts_than_a_sparse_graph_was_solved_for(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(20, shape), shape, threat=kit.sparse, sparse=True)
    advance(cohort, "mask")
    others = [i for i in cohort.clients if i != 1 and i not in cohort.context.graph.neighbours(1)]
    lie = survivors_without(cohort, *others[:5])
    refuses(cohort.clients[1], Reason.TOO_MANY_DROPPED, lambda: cohort.clients[1].confirm(lie))


def test_a_survivor_that_never_shared(cohort: Any, kit: Any) -> None:
    silent = cohort.context.graph.neighbours(1)[0]
    cohort.leaves[silent] = kit.Leaves.AFTER_ADVERTISE
    advance(cohort, "mask")
    lie = Survivors(pack_set((i - 1 for i in cohort.clients), len(cohort.clients)), (), b"")
    refuses(cohort.clients[1], Reason.UNKNOWN_PARTICIPANT, lambda: cohort.clients[1].confirm(lie))


@pytest.mark.parametrize("members", [b"", b"\xff" * 99, b"\xff"])
def test_a_bit_map_that_is_none_of_n(small: Any, members: bytes) -> None:
    advance(small, "mask")
    refuses(small.clients[1], Reason.BAD_INDEX, lambda: small.clients[1].confirm(Survivors(members, (), b"")))


def test_survivors_nobody_vouches_for(kit: Any) -> None:
    """On a sparse graph the floor may be above the number of neighbours: then others must show certificates."""
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(20, shape), shape, threat=kit.sparse, sparse=True, floor=15)
    advance(cohort, "mask")
    honest = cohort.survivors_of[1]
    assert len(honest.witnesses) == 10
    refuses(
        cohort.clients[1],
        Reason.UNCERTIFIED_PEER,
        lambda: cohort.clients[1].confirm(replace(honest, witnesses=(), proof=b"")),
    )
    forged = tuple(replace(w, certificate=b"") for w in cohort.survivors_of[2].witnesses)
    refuses(
        cohort.clients[2],
        Reason.UNCERTIFIED_PEER,
        lambda: cohort.clients[2].confirm(replace(cohort.survivors_of[2], witnesses=forged)),
    )
    third = cohort.survivors_of[3]
    repeated = (third.witnesses[0],) * len(third.witnesses)
    refuses(
        cohort.clients[3],
        Reason.BAD_INDEX,
        lambda: cohort.clients[3].confirm(replace(third, witnesses=repeated)),
    )
    fourth = cohort.survivors_of[4]
    refuses(cohort.clients[4], Reason.BAD_PROOF, lambda: cohort.clients[4].confirm(replace(fourth, proof=b"")))
    assert cohort.clients[5].confirm(cohort.survivors_of[5])


def test_one_device_cannot_stand_for_two_survivors(kit: Any) -> None:
    """A tree in which a neighbour's leaf stands at a second place too, to reach the floor with fewer devices."""
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(20, shape), shape, threat=kit.sparse, sparse=True, floor=15)
    advance(cohort, "mask")
    honest = cohort.survivors_of[1]
    client = cohort.clients[1]
    double = client._peers[sorted(cohort.context.graph.neighbours(1))[0]]
    entry = next(entry for entry in cohort.roster_of[1].entries if entry.index == double.index)
    at = honest.witnesses[0].index
    witnesses = (replace(entry, index=at), *honest.witnesses[1:])
    # Whatever proof the coordinator prepared for such a root: the repeated keys are seen first.
    refuses(client, Reason.DUPLICATE_KEY, lambda: client.confirm(replace(honest, witnesses=witnesses)))

    client = cohort.clients[2]
    honest = cohort.survivors_of[2]
    double = client._peers[sorted(cohort.context.graph.neighbours(2))[0]]
    other = cohort.new_client(double.index)
    keys = other.advertise()
    signed = sign(keys, Phase.ADVERTISE, cohort.binding.session, cohort.identities[double.index], other.binding)
    twice = replace(
        honest.witnesses[0],
        cipher_key=keys.cipher_key,
        mask_key=keys.mask_key,
        signature=signed.signature,
        certificate=cohort.certificates[double.index],
    )
    witnesses = (twice, *honest.witnesses[1:])
    refuses(client, Reason.BAD_INDEX, lambda: client.confirm(replace(honest, witnesses=witnesses)))


def test_split_views_of_who_survived_open_nothing(small: Any) -> None:
    """One half is told that device 6 dropped out, the other that it did not: together they would give both shares."""
    advance(small, "mask")
    shown = {i: survivors_without(small, 6, me=i) if i in (1, 2) else small.survivors_of[i] for i in small.clients}
    del shown[6]
    for i, survivors in shown.items():
        small.send(i, Phase.CONFIRM, small.clients[i].confirm(survivors))
    signatures = {i: signed.signature for i, signed in small.signed[Phase.CONFIRM].items()}
    for i in shown:
        mixed = confirmations(i, signatures, small.context)
        refuses(small.clients[i], Reason.BAD_CONFIRMATION, lambda i=i, mixed=mixed: small.clients[i].unmask(mixed))


def test_confirmations_that_are_too_few_forged_or_anothers(cohort: Any) -> None:
    advance(cohort, "confirm")
    lies = {
        1: (lambda c: replace(c, signatures=bytes(len(c.signatures))), Reason.BAD_CONFIRMATION),
        2: (lambda c: replace(c, signatures=c.signatures[64:]), Reason.BAD_CONFIRMATION),
        3: (lambda c: Confirmations(bytes(len(c.signers)), b""), Reason.BELOW_THRESHOLD),
        4: (lambda c: replace(c, signers=c.signers + b"\1"), Reason.BAD_INDEX),
        5: (lambda c: replace(c, signatures=c.signatures[:64] * (len(c.signatures) // 64)), Reason.BAD_CONFIRMATION),
    }
    for i, (change, reason) in lies.items():
        lie = change(cohort.confirmations_of[i])
        refuses(cohort.clients[i], reason, lambda i=i, lie=lie: cohort.clients[i].unmask(lie))


def test_a_confirmation_of_another_round_is_none_of_this_one(small: Any) -> None:
    import dataclasses

    advance(small, "confirm")
    other = dataclasses.replace(small.context, binding=dataclasses.replace(small.binding, round=9))
    message = small.clients[2]._confirmed
    from federated_protocol.messages import Confirmation

    signatures = {
        i: sign(Confirmation(message), Phase.CONFIRM, small.binding.session, identity, other.digest).signature
        for i, identity in small.identities.items()
    }
    lie = confirmations(1, signatures, small.context)
    refuses(small.clients[1], Reason.BAD_CONFIRMATION, lambda: small.clients[1].unmask(lie))


# -- order -------------------------------------------------------------------------------------------------------


def test_phases_out_of_order_or_repeated(small: Any) -> None:
    advance(small, "confirm")
    asked_again = {
        1: lambda c: c.advertise(),
        2: lambda c: c.share(small.roster_of[2]),
        3: lambda c: c.masked_input(small.mailboxes[3], small.vectors[3]),
        4: lambda c: c.confirm(small.survivors_of[4]),
    }
    for i, call in asked_again.items():
        refuses(small.clients[i], Reason.WRONG_ORDER, lambda i=i, call=call: call(small.clients[i]))


def test_both_shares_of_a_peer_by_asking_twice_with_different_survivors(small: Any) -> None:
    advance(small, "confirm")
    client = small.clients[1]
    first = client.unmask(small.confirmations_of[1])
    assert first.missing == b"\0"
    refuses(client, Reason.WRONG_ORDER, lambda: client.confirm(survivors_without(small, 6)))


def test_one_message_never_holds_both_shares_of_a_peer(cohort: Any) -> None:
    advance(cohort, "confirm")
    for i, client in cohort.clients.items():
        held = dict(client._secrets.held_shares)
        message = client.unmask(cohort.confirmations_of[i])
        for mask_key_share, self_mask_share in held.values():
            assert (mask_key_share in message.shares) + (self_mask_share in message.shares) <= 1
        assert len(message.shares) == 32 * len(held)


def test_what_leaves_a_device_never_holds_its_secrets(cohort: Any) -> None:
    secrets = {}
    for i, client in cohort.clients.items():
        inner = client._secrets
        secrets[i] = (inner.cipher_key.private_bytes_raw(), inner.mask_key.private_bytes_raw(), inner.self_mask_seed)
    cohort.run()
    sent = b"".join(signed.payload for phase in Phase for signed in cohort.signed[phase].values())
    for mine in secrets.values():
        for secret in mine:
            assert secret not in sent
    assert all(client._secrets is None for client in cohort.clients.values())
