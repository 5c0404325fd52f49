"""Training in a seeded random subspace: the update is A z, and only z travels.

For models too large to send (Li et al., "Measuring the intrinsic dimension of objective landscapes", arXiv 1804.08838;
the structured updates of arXiv 1610.05492). A is [d, m] and never stored: coordinate i of the model belongs to
coordinate ``bucket(i)`` of z with a random sign, and the columns are scaled to length 1. They do not overlap, hence
A' A = I: projecting a gradient is the gradient with respect to z, and the norm of A z is the norm of z, so the codec's
clip means the same. Blocks have ranges of z of their own, so that few important weights are not drowned by many others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from federated_protocol.plan import SubsetBlock
from federated_protocol.update_codec.subset import SEED_BYTES, check_blocks

_DOMAIN = b"federated-keyboard/1 random subspace\0"


class Subspace:
    """One subspace, known to everybody who has the seed.

    Args:
        seed: 32 bytes, drawn by the coordinator for a round or for the whole training.
        blocks: ``length`` weights each, moved by ``chosen`` coordinates of z.

    Raises:
        CodecError: blocks or seed are out of range.
    """

    def __init__(self, seed: bytes, blocks: Sequence[SubsetBlock]) -> None:
        self.dimension = sum(block.length for block in blocks)
        check_blocks(blocks, seed, self.dimension)
        self.size = sum(block.chosen for block in blocks)
        key = hashlib.sha256(_DOMAIN + seed[:SEED_BYTES]).digest()[:16]
        stream = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(8 * self.dimension))
        words = np.frombuffer(stream, dtype="<u8")
        bucket = np.empty(self.dimension, np.int64)
        start = first = 0
        for block in blocks:
            lots = words[start : start + block.length] >> np.uint64(1)
            if block.chosen == block.length:
                bucket[start : start + block.length] = np.arange(first, first + block.chosen)
            else:  # a random order dealt out in turn: buckets of equal size, none empty
                dealt = np.argsort(lots, kind="stable")
                bucket[start + dealt] = first + np.arange(block.length) % block.chosen
            start += block.length
            first += block.chosen
        self._bucket = bucket
        sizes = np.bincount(bucket, minlength=self.size)
        self._entry = (1.0 - 2.0 * (words & np.uint64(1)).astype(np.float64)) / np.sqrt(sizes[bucket])

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A by rows: for each weight the coordinate of z that moves it, int64 [d], and by how much, float64 [d]."""
        return self._bucket, self._entry

    def project(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """A' x, float64 [m]: the coordinates of the nearest point in the subspace."""
        return np.bincount(self._bucket, self._entry * x, minlength=self.size).astype(np.float64)

    def expand(self, z: NDArray[np.floating]) -> NDArray[np.float64]:
        """A z, float64 [d]."""
        return self._entry * np.asarray(z, np.float64)[self._bucket]
