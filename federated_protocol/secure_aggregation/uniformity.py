"""Does a vector look uniform? What a masked input must, and an unmasked one cannot.

Two histograms are held against the uniform distribution by Pearson's chi-square: the highest and the lowest bits of
the elements, as many bits as the number of elements can fill. Encoded updates are small numbers modulo 2^bits, so
their highest bits are nearly all zeros or all ones: an unmasked vector fails by hundreds of orders of magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated_protocol.errors import CodecError
from federated_protocol.vector_layout import Vector, VectorLayout, unpack

_MOST_BITS = 8
_LEAST_EXPECTED = 8  # elements a bin; Pearson's approximation is good from 5


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Result of the test; on uniform vectors ``p_value`` falls below q with probability at most q."""

    p_value: float
    p_high_bits: float
    p_low_bits: float
    elements: int

    def plausible(self, significance: float = 1e-6) -> bool:
        """Whether the vector may be uniform. The default errs once in a million vectors."""
        return self.p_value >= significance


def uniformity(packed: bytes, layout: VectorLayout) -> Uniformity:
    """Test a packed vector, for example what a coordinator stores of a masked input.

    Args:
        packed: ``layout.packed_bytes`` bytes.
        layout: its fields; at least 32 elements in all.

    Raises:
        MalformedMessage: of another size.
        CodecError: too few elements to say anything.
    """
    return vector_uniformity(unpack(packed, layout), layout)


def vector_uniformity(vector: Vector, layout: VectorLayout) -> Uniformity:
    """Test a vector that is not packed; see :func:`uniformity`."""
    window = _MOST_BITS
    while window > 1 and _elements(layout, window) < _LEAST_EXPECTED << window:
        window -= 1
    n = _elements(layout, window)
    if n < _LEAST_EXPECTED << window:
        raise CodecError(f"{n} elements are too few to test; take a longer vector")
    high: NDArray[np.int64] = np.zeros(1 << window, dtype=np.int64)
    low: NDArray[np.int64] = np.zeros(1 << window, dtype=np.int64)
    for field, where in layout.slices():
        if field.bits >= window:
            part = vector[where]
            high += np.bincount(part >> np.uint32(field.bits - window), minlength=1 << window)
            low += np.bincount(part & np.uint32((1 << window) - 1), minlength=1 << window)
    p_high, p_low = _chi_square_p(high), _chi_square_p(low)
    return Uniformity(p_value=min(1.0, 2 * min(p_high, p_low)), p_high_bits=p_high, p_low_bits=p_low, elements=n)


def _elements(layout: VectorLayout, window: int) -> int:
    return sum(field.length for field in layout.fields if field.bits >= window)


def _chi_square_p(counts: NDArray[np.int64]) -> float:
    """Upper tail of Pearson's statistic against equal bins (Wilson and Hilferty's cube-root normal approximation)."""
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2).sum() / expected)
    degrees = len(counts) - 1
    spread = 2 / (9 * degrees)
    z = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))
