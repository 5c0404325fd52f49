"""A coordinator that changes shares on their way, or lies about who shared, sent and confirmed; on both graphs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Confirmations, Mailbox, Phase, Survivors
from federated_protocol.secure_aggregation import confirmations
from federated_protocol.secure_aggregation.bitmap import pack_set
from federated_protocol.signing import sign
from tests.adversary.lies import advance, refuses, survivors_without

replace = msgspec.structs.replace


# -- mailboxes -------------------------------------------------------------------------------------------------


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


# -- survivors and confirmations -------------------------------------------------------------------------------


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
