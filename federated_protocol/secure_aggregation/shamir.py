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
from collections.abc import Iterable, Sequence

import numpy as np

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.randomness import ByteSource

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 32
LARGEST_X = 1 << 15
_FEW_DIFFERENCES = 1000
_COEFFICIENT_BYTES = 48  # 384 random bits reduced mod p: distance from uniform below 2^-127


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
    # With m the largest x and G the gaps, the numbers up to m that are not in xs, the denominator is
    # Π_{y≠x} (y - x) = (-1)^(x-1) (x-1)! (m-x)! / Π_{g∈G} (g - x): no inversion but those of factorials, kept in a
    # table, and few factors, as the gaps are those who dropped out.
    m = max(xs)
    inverse = _inverse_factorials(1 << m.bit_length())
    product = math.prod(xs) % PRIME
    there = set(xs)
    gaps = [g for g in range(1, m + 1) if g not in there]
    rows: Iterable[Iterable[int]]
    if len(gaps) * len(xs) < _FEW_DIFFERENCES:
        rows = [[g - x for g in gaps] for x in xs]
    else:
        factors = 63 // m.bit_length()  # so many differences multiply within a machine word
        differences = np.ones((len(xs), len(gaps) + -len(gaps) % factors), dtype=np.int64)
        differences[:, : len(gaps)] = np.array(gaps)[None, :] - np.array(xs)[:, None]
        rows = differences.reshape(len(xs), -1, factors).prod(axis=2).tolist()
    return tuple(
        product * math.prod(row) * inverse[x] * (inverse[m - x] if x % 2 else -inverse[m - x]) % PRIME
        for x, row in zip(xs, rows, strict=True)
    )


@functools.lru_cache(maxsize=LARGEST_X.bit_length() + 1)
def _inverse_factorials(size: int) -> list[int]:
    """1 / i! mod p for 0 <= i < size."""
    factorial = 1
    for i in range(1, size):
        factorial = factorial * i % PRIME
    found = [pow(factorial, -1, PRIME)]
    for i in range(size - 1, 0, -1):
        found.append(found[-1] * i % PRIME)
    found.reverse()
    return found


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


def _side_by_side(numbers: Sequence[int], lane_bits: int) -> int:
    return sum(number << (k * lane_bits) for k, number in enumerate(numbers))
