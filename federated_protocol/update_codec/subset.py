"""A random subset of the coordinates, the same for the whole cohort, drawn anew for every round.

The random mask of arXiv 1610.05492, section 2, under secure aggregation: the plan's seed says which coordinates
travel, so that their sums mean the same thing. The subset is stratified: ``chosen`` of each block's ``length``
coordinates, uniformly without replacement. Scaling the decoded sum by length / chosen (Horvitz and Thompson) makes it
unbiased; its squared error is ``(length / chosen - 1) |block|^2`` in expectation over the seed. Blocks let the few
weights that matter most travel in every round.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from federated_protocol.errors import CodecError
from federated_protocol.plan import SubsetBlock

SEED_BYTES = 32
MOST_BLOCKS = 64
_DOMAIN = b"federated-keyboard/1 coordinate subset\0"


def check_blocks(subset: Sequence[SubsetBlock], seed: bytes, dimension: int) -> None:
    """Raise :class:`CodecError` unless the blocks add up to ``dimension`` and have a seed (or there are none)."""
    if not subset:
        if seed:
            raise CodecError("a subset's seed without a subset: leave it empty")
        return
    if len(subset) > MOST_BLOCKS or any(not 1 <= block.chosen <= block.length for block in subset):
        raise CodecError(f"a subset has at most {MOST_BLOCKS} blocks, and each sends 1 to all of its coordinates")
    if sum(block.length for block in subset) != dimension:
        raise CodecError("the subset's blocks do not add up to the model's dimension")
    if len(seed) != SEED_BYTES:
        raise CodecError(f"a subset's seed has {SEED_BYTES} bytes")


@functools.lru_cache(maxsize=8)
def chosen_coordinates(subset: tuple[SubsetBlock, ...], seed: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which coordinates travel, ascending, and the factor of each that undoes the choice: int64 [m], float64 [m].

    Each coordinate of a block gets 64 bits of an AES-128-CTR stream keyed by the seed, in order; the ``chosen``
    smallest travel (of equals, the earlier).
    """
    dimension = sum(block.length for block in subset)
    key = hashlib.sha256(_DOMAIN + seed).digest()[:16]
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(8 * dimension))
    lots = np.frombuffer(stream, dtype="<u8")
    where, factor = [], []
    start = 0
    for block in subset:
        order = np.argsort(lots[start : start + block.length], kind="stable")[: block.chosen]
        where.append(start + np.sort(order))
        factor.append(np.full(block.chosen, block.length / block.chosen))
        start += block.length
    coordinates, factors = np.concatenate(where).astype(np.int64), np.concatenate(factor)
    coordinates.flags.writeable = factors.flags.writeable = False
    return coordinates, factors
