"""Rotation of a device's identity key: the key in force vouches for its successor, and the authority certifies that.

A certificate ends, and with it the key it is about. Before that (:func:`renewal_due`) the device makes a new key and
asks the authority: the request is signed by the old key, whose certificate is still in force, and by the new one, which
shows that the device holds it. Both keys then count until the old certificate ends, so no round is lost to the change.
No token is needed, and no party but the authority learns that the two keys are one device's.
"""

from __future__ import annotations

import msgspec

from federated_protocol import wire
from federated_protocol.enrolment import CERTIFICATE_LIMIT_BYTES, Certificate, Voucher
from federated_protocol.errors import BadSignature
from federated_protocol.signing import KEY_BYTES, Identity, check_signature, signed_bytes

RENEWAL_LIMIT_BYTES = CERTIFICATE_LIMIT_BYTES + 256
DUE_SHARE = 1 / 3
"""A device asks for its next key in this last part of a certificate's time."""
_PURPOSE = "renewal"


class Renewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """ "Certify my next key." """

    certificate: bytes
    """Of the key in force."""
    next_key: bytes
    """Ed25519 public key, 32 bytes."""
    by_former: bytes = b""
    """Signature of the key in force over the two fields above, 64 bytes."""
    by_next: bytes = b""
    """Signature of the next key over the same."""

    def encode(self) -> bytes:
        """The request as it travels."""
        return wire.encode(self)


def renewal_due(certificate: Certificate, now: float) -> bool:
    """Whether it is time to ask, at Unix time ``now``; not after the certificate's end, when it is too late."""
    length = certificate.not_after - certificate.not_before
    return certificate.not_after - DUE_SHARE * length <= now <= certificate.not_after


def ask_renewal(former: Identity, certificate: bytes, following: Identity) -> Renewal:
    """The request of a device that holds both keys."""
    unsigned = Renewal(certificate, following.public_key)
    statement = _signed_part(unsigned)
    return Renewal(certificate, following.public_key, former.sign(statement), following.sign(statement))


def open_renewal(data: bytes, voucher: Voucher, now: float) -> tuple[Certificate, bytes]:
    """Verify a request.

    Args:
        data: as it travelled.
        voucher: whose certificates count, revocations included.
        now: Unix time in seconds.

    Returns:
        The certificate in force, and the key that is to follow.

    Raises:
        MalformedMessage, EnrolmentError, BadSignature: in this order of checks.
    """
    renewal: Renewal = wire.decode(data, Renewal, limit_bytes=RENEWAL_LIMIT_BYTES)
    former = voucher.verify(renewal.certificate, now)
    if len(renewal.next_key) != KEY_BYTES or renewal.next_key == former.device_key:
        raise BadSignature("the next key is no key, or the same one; make a new key")
    statement = _signed_part(renewal)
    check_signature(renewal.by_former, statement, former.device_key)
    check_signature(renewal.by_next, statement, renewal.next_key)
    return former, renewal.next_key


def _signed_part(renewal: Renewal) -> bytes:
    return signed_bytes(_PURPOSE, "", wire.encode(Renewal(renewal.certificate, renewal.next_key)))
