"""Masks: AES-128-CTR key streams, added to or taken from a vector in place.

One word of 32 bits is drawn per element whatever the field's width: as ``2^bits`` divides ``2^32``, a uniform word is
uniform modulo ``2^bits`` too, with no rejection and no bias, and the vector is reduced once, after all masks.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from federated_protocol.vector_layout import Vector

_NONCE = bytes(16)  # constant: every key makes exactly one stream
_BLOCK = 16


class MaskGenerator:
    """Expands keys to masks of one length, reusing its buffers; not for use from two threads at once."""

    def __init__(self, length: int) -> None:
        """
        Args:
            length: elements of the vectors to be masked.
        """
        self._zeros = bytes(4 * length)
        self._stream = bytearray(4 * length + _BLOCK)
        self._words: NDArray[np.uint32] = np.frombuffer(self._stream, dtype="<u4", count=length)

    def _expand(self, key: bytes) -> NDArray[np.uint32]:
        Cipher(AES(key), CTR(_NONCE)).encryptor().update_into(self._zeros, self._stream)
        return self._words

    def add(self, vector: Vector, key: bytes) -> None:
        """Add the mask of ``key`` to ``vector`` (uint32, wrapping), in place."""
        vector += self._expand(key)

    def subtract(self, vector: Vector, key: bytes) -> None:
        """Take the mask of ``key`` from ``vector`` (uint32, wrapping), in place."""
        vector -= self._expand(key)

    def add_pair(self, vector: Vector, key: bytes, owner: int, peer: int) -> None:
        """Apply to ``owner``'s vector its mask with ``peer``: + when owner > peer, - when owner < peer."""
        if owner > peer:
            self.add(vector, key)
        else:
            self.subtract(vector, key)
