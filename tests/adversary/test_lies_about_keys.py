"""A coordinator that lies about who takes part: keys, certificates, neighbours, thresholds, sizes; on both graphs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federated_protocol.enrolment import issue
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import KeyAdvertisement, Mailbox, Phase
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import Advertised, ClientState, Directory, GraphParameters, solve
from federated_protocol.secure_aggregation.bitmap import pack_set
from federated_protocol.signing import Identity, sign
from federated_protocol.trust import TrustStore
from tests.adversary.lies import join, lied_directory, refuses

replace = msgspec.structs.replace


# -- keys ------------------------------------------------------------------------------------------------------


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


# -- graph and sizes -------------------------------------------------------------------------------------------


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


# -- split views of U1 -----------------------------------------------------------------------------------------


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
