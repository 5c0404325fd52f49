"""Whose certificates count: the authority's keys, their successors, and certificates that were taken back.

A deployment begins with one authority key, pinned on every device and coordinator. From then on the authority may sign
:class:`TrustList`\\ s: its keys with their dates (they may overlap, so a new key is in use before the old one ends) and
the fingerprints it revokes. A list is accepted when a key that is trusted now signed it and its serial is higher than
that of the list in force; whoever carries it (a coordinator does) can neither change it nor go back to an older one,
and can withhold it only until the list in force ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from federated_protocol import wire
from federated_protocol.enrolment import Certificate, verify
from federated_protocol.errors import (
    BadSignature,
    CertificateForged,
    CertificateRevoked,
    MalformedMessage,
    TrustListRejected,
)
from federated_protocol.signing import FINGERPRINT_BYTES, KEY_BYTES, Identity, check_signature, signed_bytes

TRUST_LIST_LIMIT_BYTES = 1 << 20
MOST_KEYS = 16
_KEPT = 4096
_PURPOSE = "trust list"


class AuthorityKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One key of the authority and when it may vouch."""

    public_key: bytes
    """Ed25519, 32 bytes."""
    not_before: float
    """Unix time in seconds."""
    not_after: float

    def valid_at(self, now: float) -> bool:
        """Whether certificates of this key count at ``now``."""
        return self.not_before <= now <= self.not_after


class TrustList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The authority's statement about its keys and the certificates it took back."""

    serial: int
    """Counts up by at least one."""
    not_after: float
    """Unix time in seconds until which devices go on without a newer list; afterwards they trust nobody."""
    keys: tuple[AuthorityKey, ...]
    revoked: tuple[bytes, ...]
    """Fingerprints, 16 bytes each, in ascending order."""
    signer: bytes
    """The authority key that signed."""
    signature: bytes = b""

    def encode(self) -> bytes:
        """The list as it travels."""
        return wire.encode(self)


def issue_trust_list(
    authority: Identity, serial: int, keys: tuple[AuthorityKey, ...], revoked: tuple[bytes, ...], not_after: float
) -> TrustList:
    """Sign a list with one of the authority's present keys; revoked fingerprints are put in order."""
    unsigned = TrustList(serial, float(not_after), keys, tuple(sorted(set(revoked))), authority.public_key)
    _check_form(unsigned)
    return msgspec.structs.replace(unsigned, signature=authority.sign(_signed_part(unsigned)))


@dataclass(frozen=True)
class TrustStore:
    """What one party trusts now. Immutable: :meth:`accept` makes the next one."""

    keys: tuple[AuthorityKey, ...]
    revoked: frozenset[bytes] = frozenset()
    serial: int = 0
    not_after: float = math.inf
    """End of the list in force."""
    _opened: dict[bytes, Certificate] = field(default_factory=dict, repr=False, compare=False)
    """Certificates whose signature was checked here; dates and revocations are checked each time."""

    @classmethod
    def pinned(cls, *authority_keys: bytes) -> TrustStore:
        """Trust these keys without an end, as a deployment begins."""
        return cls(tuple(AuthorityKey(key, -math.inf, math.inf) for key in authority_keys))

    @classmethod
    def restored(cls, data: bytes) -> TrustStore:
        """The store of a list that this party accepted earlier and kept where only it can write.

        Raises:
            TrustListRejected: the bytes are no list.
        """
        kept = _decoded(data)
        return cls(kept.keys, frozenset(kept.revoked), kept.serial, kept.not_after)

    def keys_at(self, now: float) -> list[bytes]:
        """The authority keys whose certificates count at Unix time ``now``."""
        if now > self.not_after:
            return []
        return [key.public_key for key in self.keys if key.valid_at(now)]

    def verify(self, certificate: bytes, now: float) -> Certificate:
        """Open a certificate that one of the keys signed and that was not taken back.

        Raises:
            EnrolmentError: malformed, signed by somebody else, outside its dates, or revoked.
        """
        keys = self.keys_at(now)
        opened = self._opened.get(certificate)
        if opened is None or opened.authority_key not in keys:
            opened = self._verified(certificate, keys)
        opened.check_dates(now)
        if opened.fingerprint in self.revoked:
            raise CertificateRevoked("the authority took this device's certificate back; enrol it with a new key")
        return opened

    def _verified(self, certificate: bytes, keys: list[bytes]) -> Certificate:
        for key in keys:
            try:
                opened = verify(certificate, key, None)
            except CertificateForged:
                continue
            if len(self._opened) >= _KEPT:
                self._opened.clear()
            self._opened[bytes(certificate)] = opened
            return opened
        raise CertificateForged(
            "the certificate was not signed by an authority key in force; enrol the device with this deployment's "
            "authority"
        )

    def accept(self, data: bytes, now: float) -> TrustStore:
        """Take over a newer list; the list in force gives this store back.

        Raises:
            TrustListRejected: not a list, not signed by a key trusted now, ended, or older than the list in force.
        """
        offered = _decoded(data)
        if offered.signer not in self.keys_at(now):
            raise TrustListRejected("the trust list was signed by a key that is not trusted here")
        try:
            check_signature(offered.signature, _signed_part(offered), offered.signer)
        except BadSignature:
            raise TrustListRejected("the trust list's signature does not fit; fetch it anew") from None
        if offered.serial < self.serial:
            raise TrustListRejected("the trust list is older than the one in force")
        if now > offered.not_after:
            raise TrustListRejected("the trust list has ended; fetch a newer one from the authority")
        if offered.serial == self.serial:
            return self
        return TrustStore(offered.keys, frozenset(offered.revoked), offered.serial, offered.not_after)


def _decoded(data: bytes) -> TrustList:
    try:
        offered: TrustList = wire.decode(data, TrustList, limit_bytes=TRUST_LIST_LIMIT_BYTES)
    except MalformedMessage:
        raise TrustListRejected("the trust list cannot be read; fetch it from the authority anew") from None
    _check_form(offered)
    return offered


def _check_form(offered: TrustList) -> None:
    well_formed = (
        1 <= offered.serial < 1 << 53
        and math.isfinite(offered.not_after)
        and 1 <= len(offered.keys) <= MOST_KEYS
        and all(len(key.public_key) == KEY_BYTES and key.not_before < key.not_after for key in offered.keys)
        and all(len(fingerprint) == FINGERPRINT_BYTES for fingerprint in offered.revoked)
        and len(offered.signer) == KEY_BYTES
    )
    if not well_formed:
        raise TrustListRejected("the trust list holds values out of range; make it anew")


def _signed_part(offered: TrustList) -> bytes:
    unsigned = msgspec.structs.replace(offered, signature=b"")
    return signed_bytes(_PURPOSE, "", wire.encode(unsigned))
