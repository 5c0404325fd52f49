"""Everybody computes the same public ring, and a few leaves suffice to know the root of all keys."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError
from federated_protocol.secure_aggregation.bitmap import pack_set, unpack_set
from federated_protocol.secure_aggregation.graph import Graph, permutation
from federated_protocol.secure_aggregation.merkle import MerkleTree, leaf_hash, root_from
from federated_protocol.secure_aggregation.parameters import GraphParameters

ROOT = hashlib.sha256(b"root").digest()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(4, 60), data=st.data())
def test_neighbours_are_k_others_and_the_relation_is_symmetric(n: int, data: st.DataObject) -> None:
    k = data.draw(st.sampled_from([*range(2, n - 1, 2), n - 1]))
    graph = Graph(GraphParameters(n, k, 2), "s", ROOT)
    for index in range(1, n + 1):
        around = graph.neighbours(index)
        assert len(set(around)) == len(around) == k
        assert index not in around
        assert all(index in graph.neighbours(peer) for peer in around)
        assert [graph.slot(index, peer) for peer in around] == list(range(len(around)))
        assert set(graph.holders(index)) - {index} == set(around)
    assert (1 in graph.holders(1)) == (k == n - 1)


def test_the_ring_depends_on_session_and_root_and_on_nothing_else() -> None:
    ring = permutation("s", ROOT, 50)
    assert sorted(ring) == list(range(1, 51))
    assert permutation("s", ROOT, 50) == ring
    assert ring not in (permutation("t", ROOT, 50), permutation("s", bytes(32), 50))


def test_every_place_is_equally_likely() -> None:
    places = [
        permutation("s", hashlib.sha256(bytes([i, j])).digest(), 5).index(1) for i in range(40) for j in range(50)
    ]
    assert all(330 < places.count(place) < 470 for place in range(5))


@settings(deadline=None, max_examples=100)
@given(n=st.integers(4, 40), data=st.data())
def test_reaching_the_threshold_means_t_holders_of_each_owner(n: int, data: st.DataObject) -> None:
    k = data.draw(st.sampled_from([*range(2, n - 1, 2), n - 1]))
    t = data.draw(st.integers(1, k))
    graph = Graph(GraphParameters(n, k, t), "s", ROOT)
    everybody = st.sets(st.integers(1, n))
    owners, present = data.draw(everybody), data.draw(everybody)
    expected = all(len(present.intersection(graph.holders(owner))) >= t for owner in owners)
    if owners or k < n - 1:
        assert graph.reaches_threshold(owners, present) == expected


@settings(deadline=None)
@given(n=st.integers(1, 70), data=st.data())
def test_any_leaves_with_their_proof_lead_to_the_root(n: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([i])) for i in range(n)]
    tree = MerkleTree(leaves)
    known = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    proof = tree.proof(known)
    assert root_from({i: leaves[i] for i in known}, n, proof) == tree.root
    changed = {i: leaves[i] for i in known}
    victim = min(known)
    changed[victim] = leaf_hash(b"another")
    assert root_from(changed, n, proof) != tree.root


def test_a_proof_of_the_wrong_length_is_refused() -> None:
    leaves = [leaf_hash(bytes([i])) for i in range(10)]
    tree = MerkleTree(leaves)
    proof = tree.proof([3])
    for wrong in (proof[:-32], proof + bytes(32), proof[:-1], b""):
        with pytest.raises(ProtocolError, match="bad_proof"):
            root_from({3: leaves[3]}, 10, wrong)
    for known in ({}, {10: leaves[3]}, {-1: leaves[3]}):
        with pytest.raises(ProtocolError, match="bad_proof"):
            root_from(known, 10, proof)


def test_a_proof_for_many_is_shorter_than_many_proofs() -> None:
    tree = MerkleTree([leaf_hash(i.to_bytes(2, "big")) for i in range(1000)])
    positions = [(37 * i) % 1000 for i in range(94)]
    assert len(tree.proof(positions)) < sum(len(tree.proof([position])) for position in positions) / 2


@given(st.integers(0, 200), st.data())
def test_bit_maps_come_back(size: int, data: st.DataObject) -> None:
    members = data.draw(st.sets(st.integers(0, size - 1))) if size else set()
    assert unpack_set(pack_set(members, size), size) == sorted(members)


@given(st.binary(max_size=20), st.integers(0, 100))
def test_any_bytes_are_a_canonical_bit_map_or_refused(data: bytes, size: int) -> None:
    number = int.from_bytes(data, "little")
    if len(data) != (size + 7) // 8 or number >> size:
        with pytest.raises(ProtocolError, match="bad_index"):
            unpack_set(data, size)
    else:
        assert pack_set(unpack_set(data, size), size) == data
