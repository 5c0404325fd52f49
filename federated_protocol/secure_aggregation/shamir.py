"""Shamir's secret sharing of 32-byte secrets over the prime field of p = 2^256 + 297.

Participant i holds f(i) for a random polynomial f of degree t - 1 with f(0) = secret; any t values determine f, fewer
say nothing. The field is just larger than 2^256, so that every 32-byte string is an element; a share has 33 bytes.

Python integers do the arithmetic. Two habits make it fast: dealing evaluates several polynomials side by side inside
one large integer (:func:`deal`), and opening reuses one set of Lagrange coefficients for all secrets that were shared
among the same participants (:class:`Opening`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.randomness import ByteSource

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
_COEFFICIENT_BYTES = 48  # 384 random bits reduced mod p: distance from uniform below 2^-127


def deal(secrets: Sequence[bytes], threshold: int, n: int, rng: ByteSource) -> list[tuple[bytes, ...]]:
    """Share several secrets among participants 1..n.

    Args:
        secrets: each 32 bytes.
        threshold: t, 1 <= t <= n.
        n: number of participants.
        rng: source of the polynomials' coefficients.

    Returns:
        For participant i, at position i - 1, one 33-byte share of each secret, in order.
    """
    if not 1 <= threshold <= n or any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ValueError("shares need 1 <= threshold <= n and secrets of 32 bytes")
    # Horner's rule on unreduced integers: values stay below p * (n + 1)^t, so polynomials laid side by side at that
    # distance never run into each other and share every multiplication.
    lane_bits = PRIME.bit_length() + threshold * (n + 1).bit_length() + 1
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
    for x in range(1, n + 1):
        value = 0
        for coefficient in highest_first:
            value = value * x + coefficient
        shares.append(
            tuple(
                ((value >> (k * lane_bits) & lane_mask) % PRIME).to_bytes(SHARE_BYTES, "big")
                for k in range(len(secrets))
            )
        )
    return shares


def share_value(share: bytes) -> int:
    """The number a share stands for.

    Raises:
        ProtocolError: not 33 bytes, or not below p.
    """
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise ProtocolError(ProtocolErrorReason.BAD_SHARE, "a share is not a number of the field")
    return value


class Opening:
    """Opens secrets from the shares of one set of participants; the coefficients are computed once.

    Shares are fed participant by participant (:meth:`add`), so that only one number a secret is held. The first t
    participants are interpolated. If there are more, their shares serve as a check: all values must lie on one
    polynomial of degree < t, tested by one parity equation a secret, which no single wrong share passes.
    """

    def __init__(self, participants: Sequence[int], threshold: int, n_secrets: int) -> None:
        """
        Args:
            participants: distinct x-coordinates >= 1 of those who reveal shares.
            threshold: t; at least so many participants.
            n_secrets: number of secrets to open.
        """
        if len(set(participants)) != len(participants) or min(participants, default=0) < 1:
            raise ProtocolError(ProtocolErrorReason.BAD_INDEX, "participants must be distinct and positive")
        if len(participants) < threshold:
            raise ProtocolError(
                ProtocolErrorReason.BELOW_THRESHOLD,
                f"{len(participants)} participants revealed shares, {threshold} are needed; abandon the round",
            )
        chosen = list(participants)[:threshold]
        product = math.prod(chosen)
        self._lagrange = dict.fromkeys(participants, 0)
        for x in chosen:
            # λ_x = Π_{y≠x} y / (y - x)
            self._lagrange[x] = product * pow(x * math.prod(y - x for y in chosen if y != x), -1, PRIME) % PRIME
        self._parity: dict[int, int] | None = None
        if len(participants) > threshold:
            self._parity = {x: pow(math.prod(x - y for y in participants if y != x), -1, PRIME) for x in participants}
        self._awaited = set(participants)
        self._values = [0] * n_secrets
        self._parities = [0] * n_secrets

    def add(self, participant: int, shares: Sequence[bytes]) -> None:
        """Take one participant's shares, one of each secret, in an order that is the same for all.

        Raises:
            ProtocolError: not one of the participants, given twice, or a malformed share.
        """
        if participant not in self._awaited:
            raise ProtocolError(ProtocolErrorReason.UNKNOWN_PARTICIPANT, "shares of a participant not awaited")
        self._awaited.remove(participant)
        numbers = [share_value(share) for share in shares]
        if weight := self._lagrange[participant]:
            self._values = [v + weight * s for v, s in zip(self._values, numbers, strict=True)]
        if self._parity is not None:
            weight = self._parity[participant]
            self._parities = [v + weight * s for v, s in zip(self._parities, numbers, strict=True)]

    def secrets(self) -> list[bytes]:
        """The secrets, 32 bytes each.

        Raises:
            ProtocolError: shares are missing, contradict each other, or do not give 32 bytes.
        """
        if self._awaited:
            raise ProtocolError(ProtocolErrorReason.BAD_SHARE, f"{len(self._awaited)} participants' shares are missing")
        values = [value % PRIME for value in self._values]
        if any(parity % PRIME for parity in self._parities) or any(value >> 256 for value in values):
            raise ProtocolError(
                ProtocolErrorReason.BAD_SHARE, "the revealed shares contradict each other; abandon the round"
            )
        return [value.to_bytes(SECRET_BYTES, "big") for value in values]


def _side_by_side(numbers: Sequence[int], lane_bits: int) -> int:
    return sum(number << (k * lane_bits) for k, number in enumerate(numbers))
