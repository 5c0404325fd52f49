"""The coordinator's side judges every message before it stores it, and opens nothing that does not add up."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.messages import EncryptedShares, KeyAdvertisement, MaskedInput, MaskKeyShare, SelfMaskShare
from federated_protocol.secure_aggregation import (
    MaskedSum,
    build_roster,
    check_advertisement,
    check_masked_input,
    check_shares,
    check_unmasking,
    indices_of,
    threshold_for,
)

Reason = ProtocolErrorReason
N = 6


@pytest.fixture
def cohort(kit: Any) -> Any:
    """Six devices; 5 shared but sent no input, 6 only advertised; the rest went all the way."""
    shape = kit.layout([(20, 16), (3, 24)])
    cohort = kit.Cohort(kit.vectors(N, shape), shape, {5: kit.Leaves.AFTER_SHARE, 6: kit.Leaves.AFTER_ADVERTISE})
    cohort.run()
    return cohort


def refused(reason: ProtocolErrorReason) -> Any:
    return pytest.raises(ProtocolError, match=f"^{reason.value}: ")


@pytest.mark.parametrize(("n", "t"), [(2, 2), (3, 2), (4, 3), (5, 3), (60, 31), (100, 51), (101, 51)])
def test_the_threshold_is_the_smallest_majority(n: int, t: int) -> None:
    assert threshold_for(n) == t
    assert 2 * t > n


def test_nobody_aggregates_alone_or_in_crowds_the_complete_graph_cannot_carry() -> None:
    with refused(Reason.BELOW_FLOOR):
        threshold_for(1)
    with refused(Reason.ABOVE_LARGEST_COHORT):
        threshold_for(10**6)


def test_indices_follow_the_order_of_fingerprints() -> None:
    assert indices_of([b"c", b"a", b"b"]) == {b"a": 1, b"b": 2, b"c": 3}


def test_a_roster_lists_everybody_in_order(cohort: Any) -> None:
    assert [e.index for e in cohort.roster.entries] == list(range(1, N + 1))
    assert cohort.roster.threshold == 4


def test_keys_of_the_wrong_size_or_used_twice_are_refused() -> None:
    good, other = KeyAdvertisement(b"a" * 32, b"b" * 32), KeyAdvertisement(b"c" * 32, b"b" * 32)
    check_advertisement(good)
    with refused(Reason.BAD_KEY):
        check_advertisement(KeyAdvertisement(b"a" * 32, b"b"))
    with refused(Reason.DUPLICATE_KEY):
        check_advertisement(KeyAdvertisement(b"a" * 32, b"a" * 32))
    with refused(Reason.DUPLICATE_KEY):
        build_roster({b"1": good, b"2": other})


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_points_of_small_order_are_refused_at_the_door(point: bytes) -> None:
    for message in (KeyAdvertisement(b"a" * 32, point), KeyAdvertisement(point, b"a" * 32)):
        with refused(Reason.BAD_KEY):
            check_advertisement(message)


def test_shares_must_go_to_all_others_and_to_nobody_else(cohort: Any) -> None:
    good = {i: bytes(82) for i in range(2, N + 1)}
    check_shares(EncryptedShares(good), 1, N)
    for wrong in ({}, good | {1: bytes(82)}, good | {N + 1: bytes(82)}, {k: v for k, v in good.items() if k != 3}):
        with refused(Reason.BAD_INDEX):
            check_shares(EncryptedShares(wrong), 1, N)
    with refused(Reason.BAD_CIPHERTEXT):
        check_shares(EncryptedShares(good | {2: b"short"}), 1, N)
    with refused(Reason.UNKNOWN_PARTICIPANT):
        check_shares(EncryptedShares(good), N + 1, N)


def test_mail_reaches_only_those_who_shared(cohort: Any) -> None:
    assert sorted(cohort.mailboxes) == [1, 2, 3, 4, 5]
    assert all(sorted(box.ciphertexts) == [i for i in range(1, 6) if i != me] for me, box in cohort.mailboxes.items())


def test_an_input_of_another_size_is_refused(cohort: Any) -> None:
    check_masked_input(cohort.inputs[1], cohort.layout)
    for packed in (b"", cohort.inputs[1].packed + b"\0"):
        with refused(Reason.BAD_VECTOR):
            check_masked_input(MaskedInput(packed), cohort.layout)
        with refused(Reason.BAD_VECTOR):
            MaskedSum(cohort.layout).add(1, MaskedInput(packed))


def test_no_input_is_added_twice(cohort: Any) -> None:
    total = cohort.masked_sum()
    with refused(Reason.BAD_INDEX):
        total.add(1, cohort.inputs[1])
    with refused(Reason.BAD_INDEX):
        total.merge(cohort.masked_sum())


def test_unmaskings_must_hold_exactly_what_is_due(cohort: Any) -> None:
    u2, u3, good = [1, 2, 3, 4, 5], [1, 2, 3, 4], cohort.unmaskings[1]
    check_unmasking(good, 1, u2, u3)
    with refused(Reason.UNKNOWN_PARTICIPANT):
        check_unmasking(good, 5, u2, u3)
    share = bytes(33)
    wrong_owner, wrong_kinds, wrong_size = {6: SelfMaskShare(share)}, {5: SelfMaskShare(share)}, {2: SelfMaskShare(b"")}
    for change in (wrong_owner, wrong_kinds, {1: MaskKeyShare(share)}, wrong_size):
        with refused(Reason.BAD_SHARE):
            check_unmasking(msgspec.structs.replace(good, reveals=good.reveals | change), 1, u2, u3)
    missing = {owner: reveal for owner, reveal in good.reveals.items() if owner != 2}
    with refused(Reason.BAD_SHARE):
        check_unmasking(msgspec.structs.replace(good, reveals=missing), 1, u2, u3)


def test_too_few_unmaskings_open_nothing(cohort: Any) -> None:
    del cohort.unmaskings[1]
    with refused(Reason.BELOW_THRESHOLD):
        cohort.open()


def test_sets_that_do_not_nest_open_nothing(cohort: Any) -> None:
    for change in ({"u2": [1, 2, 3]}, {"u2": [1, 2, 3, 4, 5, 9]}, {"u3": [1, 2, 3]}):
        with refused(Reason.UNKNOWN_PARTICIPANT):
            cohort.open(**change)


def test_a_sum_over_others_than_the_survivors_opens_nothing(cohort: Any) -> None:
    total = MaskedSum(cohort.layout)
    total.add(1, cohort.inputs[1])
    with refused(Reason.BAD_VECTOR):
        cohort.open(masked_sum=total)


def test_another_threshold_than_the_rosters_opens_nothing(cohort: Any) -> None:
    with refused(Reason.BAD_THRESHOLD):
        cohort.open(threshold=2)


def test_a_wrong_share_of_a_missing_devices_key_is_noticed_by_its_public_key(cohort: Any) -> None:
    reveals = cohort.unmaskings[2].reveals | {5: MaskKeyShare(bytes(33))}
    cohort.unmaskings[2] = msgspec.structs.replace(cohort.unmaskings[2], reveals=reveals)
    with refused(Reason.BAD_SHARE):  # 4 unmaskings at t = 4: nothing to spare for the parity check
        cohort.open()


def test_a_wrong_share_of_a_self_mask_is_noticed_when_one_more_than_t_unmasked(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(5, shape), shape)
    cohort.run()
    reveals = cohort.unmaskings[2].reveals | {1: SelfMaskShare(bytes(33))}
    cohort.unmaskings[2] = msgspec.structs.replace(cohort.unmaskings[2], reveals=reveals)
    with refused(Reason.BAD_SHARE):
        cohort.open()


@pytest.mark.parametrize("change", [{"session": "another"}, {"plan_digest": bytes(32)}])
def test_another_session_or_plan_opens_only_noise(cohort: Any, change: dict[str, object]) -> None:
    assert not np.array_equal(cohort.open(**change), cohort.plain_sum())
    assert np.array_equal(cohort.open(), cohort.plain_sum())
