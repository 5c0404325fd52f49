"""Shamir's secret sharing of 32-byte secrets over the prime field of p = 2^256 + 297.

The holder with x-coordinate x >= 1 gets f(x) of a random polynomial f of degree t - 1 with f(0) = secret; any t values
determine f, fewer say nothing. The field is just larger than 2^256, so that every 32-byte string is an element. A share
of 2^256 or more would need a 33rd byte; :func:`deal` draws a new polynomial then, which happens about once in 2^240
sharings and changes the shares' distribution by no more than that. So a share has 32 bytes.

Python integers do the arithmetic. Dealing evaluates several polynomials side by side inside one large integer; opening
keeps the Lagrange coefficients of the sets of holders it has seen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.randomness import ByteSource

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 32
LARGEST_X = 1 << 15
_COEFFICIENT_BYTES = 48  # 384 random bits reduced mod p: distance from uniform below 2^-127
_FACTORS = 4  # so many differences below 2^15 multiply within 63 bits


def deal(secrets: Sequence[bytes], threshold: int, holders: int, rng: ByteSource) -> list[tuple[bytes, ...]]:
    """Share several secrets among holders with x-coordinates 1..holders.

    Args:
        secrets: each 32 bytes.
        threshold: t, 1 <= t <= holders.
        holders: number of shares of each secret, at most 2^15.
        rng: source of the polynomials' coefficients.

    Returns:
        For x-coordinate x, at position x - 1, one 32-byte share of each secret, in order.
    """
    if not 1 <= threshold <= holders <= LARGEST_X or any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ValueError("shares need 1 <= threshold <= holders and secrets of 32 bytes")
    while True:
        shares = _evaluate(secrets, threshold, holders, rng)
        if shares is not None:
            return shares


def _evaluate(
    secrets: Sequence[bytes], threshold: int, holders: int, rng: ByteSource
) -> list[tuple[bytes, ...]] | None:
    # Horner's rule on unreduced integers: values stay below p * (holders + 1)^t, so polynomials laid side by side at
    # that distance never run into each other and share every multiplication.
    lane_bits = PRIME.bit_length() + threshold * (holders + 1).bit_length() + 1
    random = rng(_COEFFICIENT_BYTES * len(secrets) * (threshold - 1))
    numbers = [
        int.from_bytes(random[at : at + _COEFFICIENT_BYTES], "big") % PRIME
        for at in range(0, len(random), _COEFFICIENT_BYTES)
    ]
    rows = [numbers[k :: len(secrets)] for k in range(len(secrets))]
    highest_first = [_side_by_side(coefficients, lane_bits) for coefficients in zip(*rows, strict=True)]
    highest_first.append(_side_by_side([int.from_bytes(secret, "big") for secret in secrets], lane_bits))
    lane_mask = (1 << lane_bits) - 1
    shares = []
    for x in range(1, holders + 1):
        value = 0
        for coefficient in highest_first:
            value = value * x + coefficient
        lanes = [(value >> (k * lane_bits) & lane_mask) % PRIME for k in range(len(secrets))]
        if any(lane >> (8 * SHARE_BYTES) for lane in lanes):
            return None
        shares.append(tuple(lane.to_bytes(SHARE_BYTES, "big") for lane in lanes))
    return shares


@functools.lru_cache(maxsize=1024)
def lagrange_at_zero(xs: tuple[int, ...]) -> tuple[int, ...]:
    """λ_x = Π_{y≠x} y / (y - x) mod p for each x of ``xs``, so that f(0) = Σ λ_x f(x).

    Args:
        xs: distinct x-coordinates, 1 <= x <= 2^15.
    """
    if len(set(xs)) != len(xs) or not xs or min(xs) < 1 or max(xs) > LARGEST_X:
        raise ProtocolError(ProtocolErrorReason.BAD_INDEX, "x-coordinates must be distinct and in range")
    column = np.array(xs, dtype=np.int64)
    differences = column[None, :] - column[:, None]
    np.fill_diagonal(differences, column)  # λ_x = Π_y y / (x Π_{y≠x} (y - x))
    padding = -len(xs) % _FACTORS
    grouped = np.pad(differences, ((0, 0), (0, padding)), constant_values=1).reshape(len(xs), -1, _FACTORS).prod(axis=2)
    denominators = [math.prod(row) % PRIME for row in grouped.tolist()]
    numerator = math.prod(xs) % PRIME
    return tuple(numerator * inverse % PRIME for inverse in _inverses(denominators))


def open_secret(xs: tuple[int, ...], shares: Sequence[bytes]) -> bytes:
    """The secret of exactly t holders' shares.

    Args:
        xs: their x-coordinates.
        shares: 32 bytes each, in the same order.

    Raises:
        ProtocolError: a share of another size, or values that give no 32 bytes.
    """
    if any(len(share) != SHARE_BYTES for share in shares):
        raise ProtocolError(ProtocolErrorReason.BAD_SHARE, f"a share has {SHARE_BYTES} bytes")
    value = 0
    for weight, share in zip(lagrange_at_zero(xs), shares, strict=True):
        value += weight * int.from_bytes(share, "big")
    value %= PRIME
    if value >> (8 * SECRET_BYTES):
        raise ProtocolError(ProtocolErrorReason.BAD_SHARE, "the revealed shares contradict each other")
    return value.to_bytes(SECRET_BYTES, "big")


def _inverses(numbers: Sequence[int]) -> list[int]:
    """All inverses mod p at the price of one (Montgomery's trick)."""
    products = [1]
    for number in numbers:
        products.append(products[-1] * number % PRIME)
    inverse = pow(products[-1], -1, PRIME)
    found = [0] * len(numbers)
    for at in range(len(numbers) - 1, -1, -1):
        found[at] = products[at] * inverse % PRIME
        inverse = inverse * numbers[at] % PRIME
    return found


def _side_by_side(numbers: Sequence[int], lane_bits: int) -> int:
    return sum(number << (k * lane_bits) for k, number in enumerate(numbers))
