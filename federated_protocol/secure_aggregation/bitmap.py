"""Sets of small numbers as bit maps: number i (from 0) is bit ``i % 8`` of byte ``i // 8``; spare bits are clear."""

from __future__ import annotations

from collections.abc import Iterable

from federated_protocol.errors import ProtocolError, ProtocolErrorReason


def pack_set(members: Iterable[int], size: int) -> bytes:
    """The bit map of ``members``, each in 0 <= member < size; ``ceil(size / 8)`` bytes."""
    number = 0
    for member in members:
        number |= 1 << member
    return number.to_bytes((size + 7) // 8, "little")


def unpack_set(bitmap: bytes, size: int) -> list[int]:
    """The members in ascending order.

    Raises:
        ProtocolError: of another size, or a spare bit is set.
    """
    if len(bitmap) != (size + 7) // 8:
        raise ProtocolError(ProtocolErrorReason.BAD_INDEX, f"a bit map over {size} has {(size + 7) // 8} bytes")
    number = int.from_bytes(bitmap, "little")
    if number >> size:
        raise ProtocolError(ProtocolErrorReason.BAD_INDEX, f"a bit map names a number above {size - 1}")
    bits = bin(number)[:1:-1]
    return [member for member, bit in enumerate(bits) if bit == "1"]
