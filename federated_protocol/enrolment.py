"""Enrolment: certificates by which an authority vouches for a device's identity key.

The authority is separate from the coordinator (its own command and key): a coordinator cannot invent devices. A
certificate holds no more than a public key, dates and the authority's name and key. Devices show theirs to each other,
so it is encoded without field names.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from federated_protocol import wire
from federated_protocol.errors import (
    BadSignature,
    CertificateExpired,
    CertificateForged,
    CertificateMalformed,
    MalformedMessage,
)
from federated_protocol.messages import CheckIn, SignedMessage
from federated_protocol.signing import (
    CHECK_IN,
    KEY_BYTES,
    SIGNATURE_BYTES,
    Identity,
    check_signature,
    fingerprint,
    open_signed,
    signed_bytes,
)

__all__ = [
    "CERTIFICATE_LIMIT_BYTES",
    "CHECK_IN_LIMIT_BYTES",
    "Certificate",
    "Voucher",
    "fingerprint",
    "issue",
    "open_check_in",
    "verify",
]

CERTIFICATE_LIMIT_BYTES = 1024
CHECK_IN_LIMIT_BYTES = 4096
AUTHORITY_NAME_LIMIT = 128
_PURPOSE = "certificate"


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """An authority's statement that a device may take part."""

    device_key: bytes
    """The device's Ed25519 public key, 32 bytes."""
    not_before: float
    """Unix time in seconds from which it is valid."""
    not_after: float
    """Unix time in seconds until which it is valid."""
    authority: str
    """Name of the authority, for people."""
    authority_key: bytes
    """The authority's Ed25519 public key, 32 bytes. A device pins the one in its own certificate."""
    insecure_demo: bool
    """True when the authority's key was made by the demo: anybody may enrol, so the certificate proves nothing."""
    signature: bytes = b""
    """Ed25519 by the authority over everything above."""

    @property
    def fingerprint(self) -> bytes:
        """The device's name on the wire, 16 bytes."""
        return fingerprint(self.device_key)

    def check_dates(self, now: float) -> None:
        """Raise :class:`CertificateExpired` unless it is valid at Unix time ``now``."""
        if not self.not_before <= now <= self.not_after:
            raise CertificateExpired(
                "the certificate is not valid at this time; check the device's clock, then enrol the device anew"
            )

    def encode(self) -> bytes:
        """The certificate as it travels in :class:`~federated_protocol.messages.CheckIn`."""
        return wire.encode(self)


def issue(
    authority: Identity,
    device_key: bytes,
    *,
    authority_name: str,
    not_before: float,
    not_after: float,
    insecure_demo: bool = False,
) -> Certificate:
    """Vouch for a device.

    Args:
        authority: the authority's key pair.
        device_key: the device's Ed25519 public key, 32 bytes.
        authority_name: name shown to people, at most 128 characters.
        not_before: Unix time in seconds.
        not_after: Unix time in seconds, later than ``not_before``.
        insecure_demo: mark the certificate as worthless outside a demo.

    Raises:
        CertificateMalformed: a value out of range.
    """
    if len(device_key) != KEY_BYTES:
        raise CertificateMalformed(f"a device key has {KEY_BYTES} bytes, this one has {len(device_key)}")
    if not not_before < not_after:
        raise CertificateMalformed("the certificate would end before it begins; check the authority's clock and dates")
    if len(authority_name) > AUTHORITY_NAME_LIMIT:
        raise CertificateMalformed(f"the authority's name is longer than {AUTHORITY_NAME_LIMIT} characters")
    unsigned = Certificate(
        device_key=device_key,
        not_before=float(not_before),
        not_after=float(not_after),
        authority=authority_name,
        authority_key=authority.public_key,
        insecure_demo=insecure_demo,
    )
    return msgspec.structs.replace(unsigned, signature=authority.sign(_signed_part(unsigned)))


def verify(certificate: bytes, authority_key: bytes, now: float | None) -> Certificate:
    """Open a certificate and check that ``authority_key`` signed it and that it is valid now.

    Args:
        certificate: the bytes that travelled.
        authority_key: the authority's Ed25519 public key, 32 bytes.
        now: Unix time in seconds; None leaves the dates to the caller.

    Raises:
        CertificateMalformed: not a certificate in its canonical encoding.
        CertificateForged: signed by somebody else.
        CertificateExpired: outside its dates.
    """
    try:
        opened: Certificate = wire.decode(certificate, Certificate, limit_bytes=CERTIFICATE_LIMIT_BYTES)
    except MalformedMessage:
        raise CertificateMalformed("the certificate cannot be read; enrol the device anew") from None
    well_formed = (
        len(opened.device_key) == KEY_BYTES
        and len(opened.authority_key) == KEY_BYTES
        and len(opened.signature) == SIGNATURE_BYTES
        and len(opened.authority) <= AUTHORITY_NAME_LIMIT
        and opened.encode() == bytes(certificate)
    )
    if not well_formed:
        raise CertificateMalformed("the certificate is not in its canonical form; enrol the device anew")
    try:
        if opened.authority_key != authority_key:
            raise BadSignature
        check_signature(opened.signature, _signed_part(opened), authority_key)
    except BadSignature:
        raise CertificateForged(
            "the certificate was not signed by this deployment's authority; enrol the device with that authority"
        ) from None
    if now is not None:
        opened.check_dates(now)
    return opened


class Voucher(Protocol):
    """Whoever can tell certificates that count from others: :class:`federated_protocol.trust.TrustStore`."""

    def verify(self, certificate: bytes, now: float) -> Certificate:
        """Open a certificate or raise an :class:`~federated_protocol.errors.EnrolmentError`."""
        ...


def open_check_in(signed: SignedMessage, authority: bytes | Voucher, now: float) -> tuple[CheckIn, Certificate]:
    """Verify a check-in from a device never seen before: its certificate, then its signature.

    Args:
        signed: the envelope of a :class:`~federated_protocol.messages.CheckIn`.
        authority: the authority's Ed25519 public key, 32 bytes, or whoever knows its keys and revocations.
        now: Unix time in seconds, for the certificate's dates; ``issued_at`` is the caller's to judge.

    Raises:
        MalformedMessage, EnrolmentError, BadSignature: in this order of checks.
    """
    unverified: CheckIn = wire.decode(signed.payload, CheckIn, limit_bytes=CHECK_IN_LIMIT_BYTES)
    if isinstance(authority, bytes):
        certificate = verify(unverified.certificate, authority, now)
    else:
        certificate = authority.verify(unverified.certificate, now)
    check_in = open_signed(signed, CheckIn, CHECK_IN, "", certificate.device_key, limit_bytes=CHECK_IN_LIMIT_BYTES)
    return check_in, certificate


def _signed_part(certificate: Certificate) -> bytes:
    unsigned = msgspec.structs.replace(certificate, signature=b"")
    return signed_bytes(_PURPOSE, "", wire.encode(unsigned))
