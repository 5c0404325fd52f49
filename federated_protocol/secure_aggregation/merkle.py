"""A Merkle tree over everybody's keys, and one short proof for many leaves at once.

``leaf = SHA-256(0x00 ‖ data)``, ``node = SHA-256(0x01 ‖ left ‖ right)``; a node without a right sibling moves up as it
is. The number of leaves is fixed by whoever checks (it is bound together with the root), so no tree can pass for one of
another size. A proof for a set of leaves lists, level by level from the leaves and from left to right, the siblings
that cannot be computed: about k log2(n / k) hashes instead of k log2(n).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from federated_protocol.errors import ProtocolError, ProtocolErrorReason

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf, 32 bytes."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class MerkleTree:
    """All levels of the tree over ``leaves`` (hashes from :func:`leaf_hash`, at least one)."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        level = list(leaves)
        self._levels = [level]
        while len(level) > 1:
            paired = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
            level = paired + level[len(paired) * 2 :]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """32 bytes that commit to every leaf and its place."""
        return self._levels[-1][0]

    def proof(self, positions: Iterable[int]) -> bytes:
        """What is needed beside the leaves at ``positions`` (from 0) to compute the root."""
        known = set(positions)
        parts: list[bytes] = []
        for level in self._levels[:-1]:
            for position in sorted(known):
                sibling = position ^ 1
                if sibling < len(level) and sibling not in known:
                    parts.append(level[sibling])
            known = {position // 2 for position in known}
        return b"".join(parts)


def root_from(leaves: Mapping[int, bytes], size: int, proof: bytes) -> bytes:
    """The root of a tree with ``size`` leaves from some of them.

    Args:
        leaves: leaf hashes by position, 0 <= position < size; at least one.
        size: number of leaves of the whole tree.
        proof: as :meth:`MerkleTree.proof` made it for exactly these positions.

    Raises:
        ProtocolError: the proof is too short or too long, or a position is outside the tree.
    """
    if not leaves or min(leaves) < 0 or max(leaves) >= size or len(proof) % HASH_BYTES:
        raise _bad_proof()
    known = dict(leaves)
    at = 0
    while size > 1:
        above: dict[int, bytes] = {}
        for position in sorted(known):
            parent, sibling = position // 2, position ^ 1
            if parent in above:
                continue
            here = known[position]
            if sibling >= size:
                above[parent] = here
                continue
            there = known.get(sibling)
            if there is None:
                there = proof[at : at + HASH_BYTES]
                at += HASH_BYTES
                if len(there) != HASH_BYTES:
                    raise _bad_proof()
            above[parent] = _node(here, there) if position < sibling else _node(there, here)
        known, size = above, (size + 1) // 2
    if at != len(proof):
        raise _bad_proof()
    return known[0]


def _bad_proof() -> ProtocolError:
    return ProtocolError(
        ProtocolErrorReason.BAD_PROOF, "the keys do not lead to the root of all advertised keys; sit this round out"
    )
