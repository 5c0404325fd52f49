"""Any t shares open a secret, fewer do not, and contradictions are noticed."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.secure_aggregation.shamir import PRIME, SHARE_BYTES, deal, lagrange_at_zero, open_secret

secrets_32 = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32])


def opened(dealt: list[tuple[bytes, ...]], participants: list[int]) -> list[bytes]:
    return [
        open_secret(tuple(participants), [dealt[x - 1][which] for x in participants]) for which in range(len(dealt[0]))
    ]


@settings(deadline=None)
@given(st.lists(secrets_32, min_size=1, max_size=3), st.integers(1, 25), st.data())
def test_any_t_shares_open_all_secrets(secrets: list[bytes], n: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, n))
    participants = data.draw(st.lists(st.integers(1, n), min_size=t, max_size=t, unique=True))
    dealt = deal(secrets, t, n, os.urandom)
    assert len(dealt) == n
    assert all(len(share) == SHARE_BYTES for shares in dealt for share in shares)
    assert opened(dealt, participants) == secrets


def test_the_field_is_prime_and_holds_every_secret() -> None:
    assert PRIME > 2**256
    for base in (2, 3, 5, 7, 11, 13):  # Miller-Rabin
        odd, twos = PRIME - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        power = pow(base, odd, PRIME)
        assert power in (1, PRIME - 1) or any((power := power * power % PRIME) == PRIME - 1 for _ in range(twos - 1))


def test_shares_are_the_values_of_the_polynomial_that_was_drawn() -> None:
    n, t, secret = 7, 4, b"s" * 32
    drawn = [int.from_bytes(random.Random(5).randbytes(48 * 3)[at : at + 48], "big") for at in (0, 48, 96)]
    for x, (share,) in enumerate(deal([secret], t, n, random.Random(5).randbytes), start=1):
        value = int.from_bytes(secret, "big") + sum(a * x**k for k, a in zip((3, 2, 1), drawn, strict=True))
        assert int.from_bytes(share, "big") == value % PRIME


def test_fewer_than_t_shares_fit_any_secret_equally() -> None:
    t, n = 3, 5
    dealt = deal([b"a" * 32], t, n, os.urandom)
    for guess in (bytes(32), b"z" * 32):
        # A third share exists for every guess: two shares and f(0) = guess determine a polynomial of degree 2.
        points = {0: int.from_bytes(guess, "big")} | {x: int.from_bytes(dealt[x - 1][0], "big") for x in (1, 2)}
        third = 0
        for x, y in points.items():
            weight = y
            for other in points:
                if other != x:
                    weight = weight * (3 - other) * pow(x - other, -1, PRIME) % PRIME
            third = (third + weight) % PRIME
        forged = [*dealt[:2], (third.to_bytes(SHARE_BYTES, "big"),)]
        assert opened(forged, [1, 2, 3]) == [guess]


def test_the_same_secret_is_dealt_differently_each_time() -> None:
    assert deal([b"a" * 32], 2, 3, os.urandom) != deal([b"a" * 32], 2, 3, os.urandom)


def test_a_share_that_needs_a_33rd_byte_is_never_dealt() -> None:
    """A polynomial whose value at x = 1 is 2^256 is drawn again."""
    low = (2**256 - int.from_bytes(b"s" * 32, "big")) % PRIME
    draws = iter([low.to_bytes(48, "big"), bytes(47) + b"\1"])
    shares = deal([b"s" * 32], 2, 3, lambda size: next(draws))
    assert shares[0] == ((int.from_bytes(b"s" * 32, "big") + 1).to_bytes(32, "big"),)


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30, unique=True))
def test_lagrange_coefficients_are_those_of_the_definition(xs: list[int]) -> None:
    for x, found in zip(xs, lagrange_at_zero(tuple(xs)), strict=True):
        expected = 1
        for y in xs:
            if y != x:
                expected = expected * y * pow(y - x, -1, PRIME) % PRIME
        assert found == expected


@pytest.mark.parametrize("share", [b"", bytes(31), bytes(33)])
def test_a_share_of_another_size_is_refused(share: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        open_secret((1,), [share])
    assert caught.value.reason is ProtocolErrorReason.BAD_SHARE


@pytest.mark.parametrize("xs", [(), (1, 1), (0, 1), (-1,), (1 << 15 | 1,)])
def test_x_coordinates_that_nobody_has_are_refused(xs: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="bad_index"):
        lagrange_at_zero(xs)


@pytest.mark.parametrize(("secret", "t", "n"), [(b"short", 1, 1), (b"s" * 32, 0, 3), (b"s" * 32, 4, 3)])
def test_dealing_nonsense_is_a_programming_error(secret: bytes, t: int, n: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        deal([secret], t, n, os.urandom)
