"""Who is whose neighbour: a Harary graph on a public random ring (eprint 2020/704, section 3).

Everybody computes the same ring from the session and the root of all advertised keys; a participant's neighbours are
the k/2 before and the k/2 behind it. On the complete graph there is no ring: all others are neighbours.

*Holders* of a participant's shares, in the order of their Shamir x-coordinates 1, 2, ...: on the ring the k/2 behind
it, nearest first, then the k/2 before it, nearest first; on the complete graph everybody in order of the indices, the
participant itself included. *Neighbours* are the holders without itself, in the same order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from federated_protocol.secure_aggregation.parameters import GraphParameters

_LABEL = b"federated-keyboard/1 secure aggregation permutation\0"


def permutation(session: str, root: bytes, n: int) -> list[int]:
    """The ring: indices 1..n in a public random order.

    The seed is ``SHA-256(label ‖ length of session ‖ session ‖ root)``; its first 16 bytes key AES-128-CTR, whose
    stream gives index i the little-endian 64-bit word i - 1. Indices are sorted by (word, index).
    """
    session_bytes = session.encode()
    seed = hashlib.sha256(_LABEL + struct.pack(">I", len(session_bytes)) + session_bytes + root).digest()
    stream = Cipher(AES(seed[:16]), CTR(bytes(16))).encryptor().update(bytes(8 * n))
    order: list[int] = (np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable") + 1).tolist()
    return order


class Graph:
    """The neighbours of each of n participants."""

    def __init__(self, parameters: GraphParameters, session: str, root: bytes) -> None:
        self.parameters = parameters
        self._n, self._k = parameters.n, parameters.neighbours
        self.ring: list[int] = (
            list(range(1, self._n + 1)) if parameters.complete else permutation(session, root, self._n)
        )
        """All indices; neighbours stand close to each other."""
        self._place = {index: place for place, index in enumerate(self.ring)}
        self._everybody = tuple(self.ring) if parameters.complete else ()

    def holders(self, owner: int) -> tuple[int, ...]:
        """Who holds a share of ``owner``'s secrets; the holder at position x - 1 has x-coordinate x."""
        return self._everybody or self._around(self._place[owner])

    def neighbours(self, index: int) -> tuple[int, ...]:
        """Whom ``index`` shares masks with."""
        if not self._everybody:
            return self._around(self._place[index])
        return self._everybody[: index - 1] + self._everybody[index:]

    def slot(self, index: int, peer: int) -> int:
        """Where ``peer`` stands among the neighbours of ``index``, from 0; it must be one of them."""
        if self._everybody:
            return peer - 1 - (peer > index)
        ahead = (self._place[peer] - self._place[index]) % self._n
        half = self._k // 2
        return ahead - 1 if ahead <= half else half + self._n - ahead - 1

    @property
    def holders_count(self) -> int:
        """Shares of each secret: k, or n on the complete graph."""
        return self._n if self._everybody else self._k

    def reaches_threshold(self, owners: Iterable[int], present: Collection[int]) -> bool:
        """Whether each owner has at least t holders among ``present``."""
        alive = present if isinstance(present, frozenset | set) else frozenset(present)
        t = self.parameters.threshold
        if self._everybody:
            return len(alive) >= t
        flags = [place in alive for place in self.ring]
        half = self._k // 2
        doubled = flags[-half:] + flags + flags[:half]
        sums = [0]
        for flag in doubled:
            sums.append(sums[-1] + flag)
        return all(
            sums[(place := self._place[owner]) + 2 * half + 1] - sums[place] - flags[place] >= t for owner in owners
        )

    def _around(self, place: int) -> tuple[int, ...]:
        ring, n = self.ring, self._n
        half = self._k // 2
        behind = [ring[(place + offset) % n] for offset in range(1, half + 1)]
        before = [ring[place - offset] for offset in range(1, half + 1)]
        return tuple(behind + before)
