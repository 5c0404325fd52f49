"""Devices that do not follow the protocol: the coordinator refuses what it can see, and the others' sum is kept.

What it cannot see stays possible, and the documentation says so: under its mask a device may send any vector.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from federated_protocol.errors import BadSignature, ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import Confirmation, EncryptedShares, KeyAdvertisement, MaskedInput, Phase
from federated_protocol.secure_aggregation import (
    Advertised,
    Directory,
    MaskedSum,
    check_advertisement,
    check_confirmation,
    check_masked_input,
    check_shares,
    check_unmasking,
)
from federated_protocol.signing import open_signed, sign

replace = msgspec.structs.replace


def refused(reason: Reason) -> Any:
    return pytest.raises(ProtocolError, match=f"^{reason.value}: ")


@pytest.fixture(params=["complete", "sparse"])
def cohort(request: Any, kit: Any) -> Any:
    """Everything went well, but for the second device, which vanished after sharing."""
    shape = kit.layout([(20, 16), (3, 24)])
    gone = {2: kit.Leaves.AFTER_SHARE}
    if request.param == "complete":
        made = kit.Cohort(kit.vectors(9, shape), shape, gone)
    else:
        made = kit.Cohort(kit.vectors(30, shape), shape, gone, threat=kit.sparse, sparse=True)
    made.run()
    return made


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_points_of_small_order_are_refused_at_the_door(point: bytes) -> None:
    for message in (KeyAdvertisement(b"a" * 32, point), KeyAdvertisement(point, b"a" * 32)):
        with refused(Reason.BAD_KEY):
            check_advertisement(message)


def test_keys_of_the_wrong_size_or_used_twice_are_refused() -> None:
    check_advertisement(KeyAdvertisement(b"a" * 32, b"b" * 32))
    with refused(Reason.BAD_KEY):
        check_advertisement(KeyAdvertisement(b"a" * 32, b"b"))
    with refused(Reason.DUPLICATE_KEY):
        check_advertisement(KeyAdvertisement(b"a" * 32, b"a" * 32))


def test_another_devices_key_is_not_taken_twice(cohort: Any) -> None:
    members = cohort.advertised()
    one, other = sorted(members)[:2]
    members[one] = Advertised(
        members[one].device_key, members[one].certificate, members[other].keys, members[one].signature
    )
    with refused(Reason.DUPLICATE_KEY):
        Directory(cohort.binding, members, cohort.threat)


def test_a_device_listed_under_anothers_name_is_refused(cohort: Any) -> None:
    members = cohort.advertised()
    name = min(members)
    members[b"\0" * 16] = members.pop(name)
    with refused(Reason.BAD_INDEX):
        Directory(cohort.binding, members, cohort.threat)


def test_a_message_signed_for_another_round_phase_or_set_of_keys_is_refused(cohort: Any) -> None:
    identity, session, context = cohort.identities[1], cohort.binding.session, cohort.context.digest
    message = cohort.inputs[1]
    for purpose, where, binding in (
        (Phase.MASKED_INPUT, session, cohort.binding.digest),
        (Phase.MASKED_INPUT, session, b""),
        (Phase.MASKED_INPUT, "another", context),
        (Phase.SHARE, session, context),
    ):
        signed = sign(message, purpose, where, identity, binding)
        with pytest.raises(BadSignature):
            open_signed(signed, MaskedInput, Phase.MASKED_INPUT, session, identity.public_key, binding=context)


def test_shares_for_too_few_or_too_many_are_refused(cohort: Any) -> None:
    good = cohort.shared[1]
    check_shares(good, cohort.context)
    for wrong in (good.ciphertexts[:-80], good.ciphertexts + bytes(80), good.ciphertexts[:-1], b""):
        with refused(Reason.BAD_CIPHERTEXT):
            check_shares(EncryptedShares(good.seed_commitment, wrong), cohort.context)
    with refused(Reason.BAD_CIPHERTEXT):
        check_shares(replace(good, seed_commitment=b""), cohort.context)


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


def test_a_confirmation_of_other_survivors_is_refused(cohort: Any) -> None:
    good = Confirmation(cohort.clients[1]._confirmed)
    check_confirmation(good, cohort.context, cohort.inputs)
    for wrong in (Confirmation(bytes(32)), Confirmation(b"")):
        with refused(Reason.BAD_CONFIRMATION):
            check_confirmation(wrong, cohort.context, cohort.inputs)
    with refused(Reason.BAD_CONFIRMATION):
        check_confirmation(good, cohort.context, list(cohort.inputs)[1:])


def test_unmaskings_must_hold_exactly_what_is_due(cohort: Any) -> None:
    graph, u2, u3, good = cohort.context.graph, cohort.mailboxes, cohort.inputs, cohort.unmaskings[1]
    check_unmasking(good, 1, graph, u2, u3)
    with refused(Reason.UNKNOWN_PARTICIPANT):
        check_unmasking(good, 2, graph, u2, u3)
    for change in (
        {"shares": good.shares[:-32]},
        {"shares": good.shares + bytes(32)},
        {"missing": bytes(byte ^ 1 for byte in good.missing)},
    ):
        with refused(Reason.BAD_SHARE):
            check_unmasking(replace(good, **change), 1, graph, u2, u3)
    for missing in (b"", good.missing + b"\0"):
        with refused(Reason.BAD_INDEX):
            check_unmasking(replace(good, missing=missing), 1, graph, u2, u3)


def test_one_device_that_reveals_garbage_does_not_keep_the_others_from_their_sum(cohort: Any) -> None:
    for liar in (1, 3):
        honest = cohort.unmaskings[liar]
        cohort.unmaskings[liar] = replace(honest, shares=bytes(len(honest.shares)))
        assert np.array_equal(cohort.open(), cohort.plain_sum())
        cohort.unmaskings[liar] = honest


def test_garbage_from_everybody_opens_nothing(cohort: Any) -> None:
    for i, message in cohort.unmaskings.items():
        cohort.unmaskings[i] = replace(message, shares=bytes(len(message.shares)))
    with refused(Reason.BAD_SHARE):
        cohort.open()


def test_a_device_that_commits_to_another_seed_than_it_shared_is_found_out(cohort: Any) -> None:
    cohort.shared[1] = replace(cohort.shared[1], seed_commitment=bytes(32))
    with refused(Reason.BAD_SHARE):
        cohort.open()


def test_under_its_mask_a_device_can_shift_the_sum_by_any_vector(kit: Any) -> None:
    """No check sees it: gates, clipping at the cohort and rollback are the answers, and the docs claim no more."""
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(5, shape), shape)
    honest = cohort.vectors[1].copy()
    cohort.vectors[1] = honest ^ np.uint32(0x8000)
    opened = cohort.run()
    cohort.vectors[1] = honest
    assert np.array_equal(opened ^ np.uint32(0x8000), cohort.plain_sum())
