"""Randomised Hadamard rotation of any dimension, without padding.

Rotating spreads an update's energy evenly over its coordinates, so that one shared quantisation step suits all of them
(arXiv 1610.05492, section 3.2; arXiv 2102.06387, section 3). The usual form, H·D with D random signs, wants a power of
two; d = 7,300 would become 8,192. Here P is the largest power of two not above d, and H·D is applied twice, with signs
of its own each time: to the first P coordinates, then to the last P. The windows overlap because 2P > d; each pass is
orthogonal, hence so is the whole, and the dimension stays d.

Flattening: every output coordinate is last written by a window of width P under fresh signs, so by Hoeffding's
inequality it exceeds t in absolute value with probability at most ``2 exp(-t² P / (2 |x|²))`` for any fixed input x.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

SEED_BYTES = 32
_DOMAIN = b"federated-keyboard/1 rotation signs\0"

Floats = NDArray[np.float64]


def window(dimension: int) -> int:
    """P: the largest power of two that is not above ``dimension``."""
    return 1 << (dimension.bit_length() - 1)


def rotate(x: Floats, seed: bytes) -> Floats:
    """Rotate ``x`` (float64 [d], d >= 1) with the cohort's 32-byte seed; the L2 norm is kept."""
    p = window(len(x))
    first, last = _signs(seed, len(x))
    y = x.copy()
    y[:p] = _hadamard(y[:p] * first)
    if p < len(x):
        y[-p:] = _hadamard(y[-p:] * last)
    return y


def rotate_back(y: Floats, seed: bytes) -> Floats:
    """Inverse of :func:`rotate`."""
    p = window(len(y))
    first, last = _signs(seed, len(y))
    x = y.copy()
    if p < len(y):
        x[-p:] = _hadamard(x[-p:]) * last
    x[:p] = _hadamard(x[:p]) * first
    return x


def _hadamard(x: Floats) -> Floats:
    """Orthonormal Walsh-Hadamard transform (natural order) of float64 [P], P a power of two.

    Butterflies of constant geometry: each pass combines the two halves and interleaves the results, so that every pass
    runs over long, plain slices. A product with Hadamard matrices would go to BLAS, whose threads stall for
    milliseconds on a busy machine.
    """
    half = len(x) // 2
    source: Floats = x / np.sqrt(len(x))
    target = np.empty_like(source)
    for _ in range(len(x).bit_length() - 1):
        np.add(source[:half], source[half:], out=target[0::2])
        np.subtract(source[:half], source[half:], out=target[1::2])
        source, target = target, source
    return source


@functools.lru_cache(maxsize=4)
def _signs(seed: bytes, dimension: int) -> tuple[Floats, Floats]:
    """Two independent vectors of P random signs, from an AES-128-CTR stream keyed by the seed."""
    p = window(dimension)
    key = hashlib.sha256(_DOMAIN + seed).digest()[:16]
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes((2 * p + 7) // 8))
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), bitorder="little")[: 2 * p]
    signs = 1.0 - 2.0 * bits.astype(np.float64)
    signs.flags.writeable = False
    return signs[:p], signs[p:]
