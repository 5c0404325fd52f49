"""Only devices that the authority vouched for, and only while it does, may check in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated_protocol import enrolment
from federated_protocol.errors import (
    BadSignature,
    CertificateExpired,
    CertificateForged,
    CertificateMalformed,
    EnrolmentError,
    MalformedMessage,
)
from federated_protocol.messages import CheckIn, Phase, SignedMessage
from federated_protocol.signing import CHECK_IN, Identity, sign

AUTHORITY, IMPOSTOR, DEVICE, OTHER = (Identity.generate() for _ in range(4))


def certificate(authority: Identity = AUTHORITY, device: Identity = DEVICE, **changed: object) -> enrolment.Certificate:
    arguments = {"authority_name": "demo", "not_before": 100.0, "not_after": 200.0, "insecure_demo": True} | changed
    return enrolment.issue(authority, device.public_key, **arguments)  # type: ignore[arg-type]


def check_in(signer: Identity = DEVICE, cert: bytes | None = None) -> SignedMessage:
    message = CheckIn(
        protocol_version=1,
        app_version="1",
        certificate=certificate().encode() if cert is None else cert,
        nonce=b"n" * 16,
        issued_at=150.0,
        wants_round=True,
    )
    return sign(message, CHECK_IN, "", signer)


def test_an_issued_certificate_verifies_and_says_what_was_issued() -> None:
    opened = enrolment.verify(certificate().encode(), AUTHORITY.public_key, 150.0)
    assert opened == certificate()
    assert opened.device_key == DEVICE.public_key
    assert opened.fingerprint == DEVICE.fingerprint
    assert opened.insecure_demo


@pytest.mark.parametrize("now", [99.0, 201.0, float("nan"), float("inf")])
def test_outside_its_dates_it_is_expired(now: float) -> None:
    with pytest.raises(CertificateExpired):
        enrolment.verify(certificate().encode(), AUTHORITY.public_key, now)


def test_another_authority_is_forged() -> None:
    with pytest.raises(CertificateForged):
        enrolment.verify(certificate(IMPOSTOR).encode(), AUTHORITY.public_key, 150.0)


@pytest.mark.parametrize(
    "changed",
    [{"device_key": OTHER.public_key}, {"not_after": 1e9}, {"not_before": 0.0}, {"insecure_demo": False}],
)
def test_no_field_can_be_changed_afterwards(changed: dict[str, object]) -> None:
    forged = msgspec.structs.replace(certificate(), **changed)
    with pytest.raises(CertificateForged):
        enrolment.verify(forged.encode(), AUTHORITY.public_key, 150.0)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        enrolment.verify(data, AUTHORITY.public_key, 150.0)


@given(st.data())
def test_a_damaged_certificate_is_refused_by_name(data: st.DataObject) -> None:
    encoded = bytearray(certificate().encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EnrolmentError):
        enrolment.verify(bytes(encoded), AUTHORITY.public_key, 150.0)


@pytest.mark.parametrize("changed", [{"not_after": 100.0}, {"not_after": float("nan")}, {"authority_name": "x" * 200}])
def test_the_authority_does_not_issue_nonsense(changed: dict[str, object]) -> None:
    with pytest.raises(CertificateMalformed):
        certificate(**changed)


def test_the_authority_does_not_issue_for_a_key_of_another_length() -> None:
    with pytest.raises(CertificateMalformed):
        enrolment.issue(AUTHORITY, b"short", authority_name="a", not_before=0, not_after=1)


def test_a_check_in_opens_with_its_certificate() -> None:
    message, cert = enrolment.open_check_in(check_in(), AUTHORITY.public_key, 150.0)
    assert message.wants_round
    assert cert.device_key == DEVICE.public_key


def test_a_check_in_signed_by_another_key_than_the_certified_one_is_refused() -> None:
    with pytest.raises(BadSignature):
        enrolment.open_check_in(check_in(signer=OTHER), AUTHORITY.public_key, 150.0)


def test_a_check_in_signed_for_another_purpose_is_refused() -> None:
    payload = enrolment.wire.decode(check_in().payload, CheckIn)
    with pytest.raises(BadSignature):
        enrolment.open_check_in(sign(payload, Phase.ADVERTISE, "", DEVICE), AUTHORITY.public_key, 150.0)


def test_a_check_in_without_a_valid_certificate_is_not_enrolled() -> None:
    with pytest.raises(CertificateForged):
        enrolment.open_check_in(check_in(cert=certificate(IMPOSTOR).encode()), AUTHORITY.public_key, 150.0)
    with pytest.raises(CertificateMalformed):
        enrolment.open_check_in(check_in(cert=b""), AUTHORITY.public_key, 150.0)


def test_a_check_in_that_is_none_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        enrolment.open_check_in(SignedMessage(DEVICE.fingerprint, b"junk", bytes(64)), AUTHORITY.public_key, 150.0)
