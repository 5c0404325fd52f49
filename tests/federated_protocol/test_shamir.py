"""Any t shares open a secret, fewer do not, and contradictions are noticed."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.secure_aggregation.shamir import PRIME, SHARE_BYTES, Opening, deal

secrets_32 = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32])


def opened(dealt: list[tuple[bytes, ...]], participants: list[int], t: int) -> list[bytes]:
    opening = Opening(participants, t, len(dealt[0]))
    for participant in participants:
        opening.add(participant, dealt[participant - 1])
    return opening.secrets()


@settings(deadline=None)
@given(st.lists(secrets_32, min_size=1, max_size=3), st.integers(1, 25), st.data())
def test_any_t_or_more_shares_open_all_secrets(secrets: list[bytes], n: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, n))
    participants = data.draw(st.lists(st.integers(1, n), min_size=t, max_size=n, unique=True))
    dealt = deal(secrets, t, n, os.urandom)
    assert len(dealt) == n
    assert all(len(share) == SHARE_BYTES for shares in dealt for share in shares)
    assert opened(dealt, participants, t) == secrets


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
        assert opened(forged, [1, 2, 3], t) == [guess]


def test_the_same_secret_is_dealt_differently_each_time() -> None:
    assert deal([b"a" * 32], 2, 3, os.urandom) != deal([b"a" * 32], 2, 3, os.urandom)


@pytest.mark.parametrize("wrong", [1, 3, 4, 6])
def test_one_wrong_share_among_more_than_t_is_noticed(wrong: int) -> None:
    dealt = deal([b"a" * 32, b"b" * 32], 4, 6, os.urandom)
    dealt[wrong - 1] = (dealt[wrong - 1][0], bytes(SHARE_BYTES))
    with pytest.raises(ProtocolError) as caught:
        opened(dealt, [1, 2, 3, 4, 5, 6], 4)
    assert caught.value.reason is ProtocolErrorReason.BAD_SHARE


@pytest.mark.parametrize("share", [b"", bytes(32), bytes(34), b"\xff" * 33, PRIME.to_bytes(33, "big")])
def test_a_share_outside_the_field_is_refused(share: bytes) -> None:
    opening = Opening([1], 1, 1)
    with pytest.raises(ProtocolError) as caught:
        opening.add(1, [share])
    assert caught.value.reason is ProtocolErrorReason.BAD_SHARE


def test_too_few_repeated_unknown_or_missing_participants_are_refused_by_name() -> None:
    share = bytes(SHARE_BYTES)
    with pytest.raises(ProtocolError, match="below_threshold"):
        Opening([1, 2], 3, 1)
    with pytest.raises(ProtocolError, match="bad_index"):
        Opening([1, 1, 2], 3, 1)
    with pytest.raises(ProtocolError, match="bad_index"):
        Opening([0, 1, 2], 3, 1)
    opening = Opening([1, 2, 3], 3, 1)
    opening.add(1, [share])
    with pytest.raises(ProtocolError, match="unknown_participant"):
        opening.add(1, [share])
    with pytest.raises(ProtocolError, match="unknown_participant"):
        opening.add(4, [share])
    with pytest.raises(ProtocolError, match="missing"):
        opening.secrets()


@pytest.mark.parametrize(("secret", "t", "n"), [(b"short", 1, 1), (b"s" * 32, 0, 3), (b"s" * 32, 4, 3)])
def test_dealing_nonsense_is_a_programming_error(secret: bytes, t: int, n: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        deal([secret], t, n, os.urandom)
