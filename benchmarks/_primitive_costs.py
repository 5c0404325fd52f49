"""What the primitives of secure aggregation cost on this machine, and the least that a (k, t) can be had for.

The lower bounds count only calls of primitives that this (k, t) cannot do without, at the medians timed in this run:
for a client two key pairs, 2k agreements, k + 1 masks, k boxes sealed and k opened, one sharing, five signatures, and
the verification of k certificates, k advertisements and t confirmations; for the server one unpacking an input, a mask
a survivor, and an agreement and a mask for each pair of a missing device and a surviving neighbour. Derivations,
packing, interpolation, storage, encoding and every check stand on top of them.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.secure_aggregation import GraphParameters, derivation, shamir, share_box
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.signing import Identity, check_signature
from federated_protocol.vector_layout import Vector, VectorLayout, pack, unpack

_SIGNED = b"x" * 200


@dataclass(frozen=True)
class Primitives:
    """CPU seconds of one call of each."""

    key_pair: float
    agreement: float
    mask: float
    seal: float
    open_box: float
    sharing: float
    sign: float
    verify: float
    unpack: float

    @classmethod
    def time(cls, parameters: GraphParameters, layout: VectorLayout) -> Primitives:
        """Time each, the median over batches."""
        mine, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key().public_bytes_raw()
        identity = Identity.generate()
        signature = identity.sign(_SIGNED)
        masks = MaskGenerator(layout.length)
        vector: Vector = np.zeros(layout.length, dtype=np.uint32)
        share, key = bytes(32), bytes(range(32))
        box = share_box.seal(key, 1, 2, share, share)
        packed = pack(vector, layout)
        holders = parameters.n if parameters.complete else parameters.neighbours
        return cls(
            key_pair=_cpu(lambda: X25519PrivateKey.generate().public_key().public_bytes_raw(), 50),
            agreement=_cpu(lambda: derivation.agree(mine, theirs), 50),
            mask=_cpu(lambda: masks.add(vector, key[:16]), 50),
            seal=_cpu(lambda: share_box.seal(key, 1, 2, share, share), 200),
            open_box=_cpu(lambda: share_box.open_box(key, 1, 2, box), 200),
            sharing=_cpu(lambda: shamir.deal([share, share], parameters.threshold, holders, os.urandom), 3),
            sign=_cpu(lambda: identity.sign(_SIGNED), 50),
            verify=_cpu(lambda: check_signature(signature, _SIGNED, identity.public_key), 50),
            unpack=_cpu(lambda: unpack(packed, layout), 10),
        )

    def median_with(self, other: Primitives) -> Primitives:
        """Halfway between two timings, before and after the round."""
        return Primitives(*((one + two) / 2 for one, two in zip(self._values(), other._values(), strict=True)))

    def client_s(self, parameters: GraphParameters) -> float:
        """Least CPU seconds of one client."""
        k, t = parameters.neighbours, parameters.threshold
        return (
            2 * self.key_pair
            + 2 * k * self.agreement
            + (k + 1) * self.mask
            + k * (self.seal + self.open_box)
            + self.sharing
            + 5 * self.sign
            + (2 * k + t) * self.verify
        )

    def server_s(self, inputs: int, pairs: int) -> float:
        """Least CPU seconds of opening a sum."""
        return inputs * (self.unpack + self.mask) + pairs * (self.agreement + self.mask)

    def report(self) -> dict[str, float]:
        """Microseconds by name."""
        return {name: round(1e6 * value, 2) for name, value in self.__dict__.items()}

    def _values(self) -> Iterator[float]:
        return iter(self.__dict__.values())


def _cpu(call: Callable[[], object], repeats: int, batches: int = 9) -> float:
    call()
    times: list[float] = []
    for _ in range(batches):
        started = time.process_time()
        for _ in range(repeats):
            call()
        times.append((time.process_time() - started) / repeats)
    return statistics.median(times)
