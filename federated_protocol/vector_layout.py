"""The shape of a secure vector, and its bit-packed form on the wire.

A secure vector is a ``uint32`` array cut into fields; the elements of a field are integers modulo ``2^bits`` of that
field. As every ``2^bits`` divides ``2^32``, sums may run in wrapping ``uint32`` arithmetic and be reduced once at the
end (:meth:`VectorLayout.reduce`). Packed, an element takes ``bits`` bits, little-endian, and a field ends on a byte.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated_protocol.errors import CodecError, MalformedMessage

WIDEST_FIELD_BITS = 32
_GROUP = 32  # so many elements of b bits fill exactly b words of 32 bits

Vector = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class VectorField:
    """``length`` integers modulo ``2^bits``."""

    name: str
    length: int
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= WIDEST_FIELD_BITS or self.length < 0:
            raise CodecError(f"a field holds >= 0 integers of 1 to {WIDEST_FIELD_BITS} bits")

    @property
    def modulus(self) -> int:
        """``2^bits``."""
        return 1 << self.bits

    @property
    def packed_bytes(self) -> int:
        """Size of the packed field."""
        return (self.length * self.bits + 7) // 8


@dataclass(frozen=True)
class VectorLayout:
    """The fields of a secure vector, in order."""

    fields: tuple[VectorField, ...]

    @functools.cached_property
    def length(self) -> int:
        """Number of elements of the vector."""
        return sum(field.length for field in self.fields)

    @functools.cached_property
    def packed_bytes(self) -> int:
        """Size of the packed vector."""
        return sum(field.packed_bytes for field in self.fields)

    def slices(self) -> Iterator[tuple[VectorField, slice]]:
        """Each field with its place in the vector."""
        start = 0
        for field in self.fields:
            yield field, slice(start, start + field.length)
            start += field.length

    def reduce(self, vector: Vector) -> None:
        """Reduce every element modulo its field's ``2^bits``, in place."""
        for field, where in self.slices():
            if field.bits < WIDEST_FIELD_BITS:
                vector[where] &= np.uint32(field.modulus - 1)

    def check(self, vector: NDArray[np.unsignedinteger]) -> Vector:
        """Return ``vector`` as ``uint32[length]``.

        Raises:
            CodecError: another shape or kind, or an element outside its field.
        """
        if vector.ndim != 1 or len(vector) != self.length or not np.issubdtype(vector.dtype, np.unsignedinteger):
            raise CodecError(f"a secure vector here is {self.length} unsigned integers in one dimension")
        for field, where in self.slices():
            if field.length and int(vector[where].max()) >= field.modulus:
                raise CodecError(f"field {field.name!r} holds a value of more than {field.bits} bits")
        return vector.astype(np.uint32, copy=False)


def pack(vector: Vector, layout: VectorLayout) -> bytes:
    """Bit-pack a reduced vector.

    Args:
        vector: uint32 [layout.length]; each element below its field's modulus (higher bits would spill).
        layout: its fields.

    Returns:
        ``layout.packed_bytes`` bytes.
    """
    if vector.shape != (layout.length,):
        raise CodecError(f"the vector has shape {vector.shape}, the layout wants ({layout.length},)")
    return b"".join(_pack_field(vector[where], field.bits) for field, where in layout.slices())


def unpack(data: bytes | memoryview, layout: VectorLayout) -> Vector:
    """Inverse of :func:`pack`; returns uint32 [layout.length].

    Raises:
        MalformedMessage: the size is not ``layout.packed_bytes``, or bits that pad a field's last byte are set.
    """
    if len(data) != layout.packed_bytes:
        raise MalformedMessage(f"the packed vector has {len(data)} bytes, the plan makes {layout.packed_bytes}")
    vector = np.empty(layout.length, dtype=np.uint32)
    view = memoryview(data)
    start = 0
    for field, where in layout.slices():
        part = view[start : start + field.packed_bytes]
        spare = 8 * field.packed_bytes - field.length * field.bits
        if spare and part[-1] >> (8 - spare):
            raise MalformedMessage("the packed vector has bits set in its padding; pack it again")
        vector[where] = _unpack_field(part, field.length, field.bits)
        start += field.packed_bytes
    return vector


def _pack_field(values: Vector, bits: int) -> bytes:
    length = len(values)
    if bits == WIDEST_FIELD_BITS:
        return values.astype("<u4", copy=False).tobytes()
    groups = -(-length // _GROUP)
    padded = np.zeros(groups * _GROUP, dtype=np.uint32)
    padded[:length] = values
    columns = np.ascontiguousarray(padded.reshape(groups, _GROUP).T)
    words = np.zeros((bits, groups), dtype=np.uint32)
    for i in range(_GROUP):
        word, shift = divmod(i * bits, 32)
        words[word] |= columns[i] << np.uint32(shift)
        if shift + bits > 32:
            words[word + 1] |= columns[i] >> np.uint32(32 - shift)
    packed = np.ascontiguousarray(words.T).astype("<u4", copy=False)
    return packed.tobytes()[: (length * bits + 7) // 8]


def _unpack_field(data: memoryview, length: int, bits: int) -> Vector:
    if bits == WIDEST_FIELD_BITS:
        return np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
    groups = -(-length // _GROUP)
    raw = np.zeros(groups * bits * 4, dtype=np.uint8)
    raw[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    words = np.ascontiguousarray(raw.view("<u4").reshape(groups, bits).T).astype(np.uint32, copy=False)
    columns = np.empty((_GROUP, groups), dtype=np.uint32)
    mask = np.uint32((1 << bits) - 1)
    for i in range(_GROUP):
        word, shift = divmod(i * bits, 32)
        value = words[word] >> np.uint32(shift)
        if shift + bits > 32:
            value |= words[word + 1] << np.uint32(32 - shift)
        columns[i] = value & mask
    return np.ascontiguousarray(columns.T).reshape(-1)[:length]
