"""Who this device is: an Ed25519 key made here, a certificate from the authority, an experiment arm.

The key never leaves the file it was made in (mode 0600). The certificate says that the authority enrolled the key; it
comes as a file placed by ``authority issue``, or is asked for with a one-time token from ``authority serve``. Before it
ends the device makes its next key and has it certified (:mod:`federated_protocol.renewal`). The arm is a salted hash of
the first key: nobody has to be told which device is in which arm, and it outlasts the key.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from federated_protocol import signing, wire
from federated_protocol.enrolment import CERTIFICATE_LIMIT_BYTES, Certificate, verify
from federated_protocol.errors import EnrolmentError, FederatedProtocolError, MalformedMessage, TrustListRejected
from federated_protocol.renewal import Renewal, ask_renewal, renewal_due
from federated_protocol.trust import TRUST_LIST_LIMIT_BYTES, TrustStore
from keyboard_app.device.files import write_atomically

ARM_SALT = b"federated-keyboard holdback 1"
HOLDBACK_PERCENT = 5
HOLDBACK = "holdback"
TREATMENT = "treatment"
_LARGEST_ANSWER_BYTES = 2 * (CERTIFICATE_LIMIT_BYTES + TRUST_LIST_LIMIT_BYTES) + 1024


class IdentityError(Exception):
    """The key or certificate cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class EnrolmentState:
    """What the certificate says, as far as the device itself can tell."""

    enrolled: bool
    sentence: str
    """For the person: enrolled, missing, expired or not yet valid, and what to do."""


class DeviceIdentity:
    """The device's key pair and certificate in ``folder`` (``identity.key``, ``certificate``).

    Make it with :meth:`open`.
    """

    def __init__(self, folder: Path, keys: signing.Identity) -> None:
        self._folder = folder
        self.keys = keys
        self._certificate: bytes | None = None
        self._opened: Certificate | None = None
        self._trust = TrustStore(())

    @classmethod
    def open(cls, folder: Path) -> DeviceIdentity:
        """Load the identity in ``folder``, or create one there.

        Raises:
            IdentityError: the key file is damaged or readable by others and cannot be closed to them.
            OSError: the folder cannot be read or written.
        """
        path = folder / "identity.key"
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            keys = signing.Identity.generate()
            write_atomically(path, keys.private_bytes(), mode=0o600)
        else:
            if len(raw) != signing.KEY_BYTES:
                raise IdentityError(
                    f"{path} is not an identity key: move it away, a new one is made, and enrol the device anew"
                )
            if os.name == "posix" and path.stat().st_mode & 0o077:
                path.chmod(0o600)
            keys = signing.Identity.from_private_bytes(raw)
        identity = cls(folder, keys)
        identity._finish_rotation()
        identity.look_again()
        return identity

    @property
    def public_key(self) -> bytes:
        """Ed25519 public key, 32 bytes."""
        return self.keys.public_key

    @property
    def fingerprint(self) -> bytes:
        """The device's name on the wire, 16 bytes."""
        return self.keys.fingerprint

    @property
    def certificate(self) -> bytes | None:
        """The certificate as it travels, or None before enrolment."""
        return self._certificate

    @property
    def insecure_demo(self) -> bool:
        """Whether the certificate was issued by a demo authority and so proves nothing."""
        return self._opened is not None and self._opened.insecure_demo

    @property
    def trust(self) -> TrustStore:
        """Whose certificates count for this device: the authority of its own, until that makes a trust list."""
        return self._trust

    def accept_trust(self, trust_list: bytes, now: float) -> None:
        """Take over the authority's newest trust list; whoever carried it, only the authority can have made it.

        Args:
            trust_list: as it travelled.
            now: Unix time in seconds.

        Raises:
            TrustListRejected: forged, ended, or older than the one in force.
            OSError: it cannot be written.
        """
        accepted = self._trust.accept(trust_list, now)
        if accepted is not self._trust:
            write_atomically(self._folder / "trust.list", trust_list)
            self._trust = accepted

    def arm(self, salt: bytes = ARM_SALT, holdback_percent: int = HOLDBACK_PERCENT) -> str:
        """``holdback`` for ``holdback_percent`` of all keys, else ``treatment``."""
        try:
            first = (self._folder / "first.key").read_bytes()  # written when the key was changed
        except OSError:
            first = self.fingerprint
        return assign_arm(first, salt, holdback_percent)

    def renewal_due(self, now: float) -> bool:
        """Whether the certificate is in its last third at Unix time ``now``: time for the next key."""
        return self._opened is not None and renewal_due(self._opened, now)

    def renew(self, authority_url: str, now: float, timeout_s: float = 10.0) -> None:
        """Have the authority certify this device's next key, and change to it.

        A request that was not answered is made again with the same key.

        Raises:
            IdentityError: the authority is away, declined, or answered with something else.
            OSError: a file cannot be written.
        """
        if self._certificate is None:
            raise IdentityError("not enrolled: get a certificate from the authority")
        path = self._folder / "identity.next"
        try:
            following = signing.Identity.from_private_bytes(path.read_bytes())
        except (OSError, FederatedProtocolError):
            following = signing.Identity.generate()
            write_atomically(path, following.private_bytes(), mode=0o600)
        request = ask_renewal(self.keys, self._certificate, following)
        issued = request_renewal(authority_url, request, timeout_s)
        self._accept_with(issued, now)
        self._rotate(following, issued.certificate, now)

    def _rotate(self, following: signing.Identity, certificate: bytes, now: float) -> None:
        """Change key and certificate; after a crash in between, the next start finds a pair that belongs together."""
        try:
            opened = self._trust.verify(certificate, now)
        except EnrolmentError:
            raise IdentityError("the authority's answer is no certificate that counts for this device") from None
        if opened.device_key != following.public_key or (opened.insecure_demo and not self.insecure_demo):
            raise IdentityError("the authority's answer is a certificate for something else")
        if not (self._folder / "first.key").exists():
            write_atomically(self._folder / "first.key", self.fingerprint)
        write_atomically(self._folder / "certificate.next", certificate)
        os.replace(self._folder / "identity.next", self._folder / "identity.key")
        self.keys = following
        self._finish_rotation()
        self.look_again()

    def _finish_rotation(self) -> None:
        """Put the next certificate in its place if the key it is about is there already."""
        waiting = self._folder / "certificate.next"
        try:
            _open_certificate(waiting.read_bytes(), self.public_key)
        except (OSError, IdentityError):
            return
        os.replace(waiting, self._folder / "certificate")

    def enrolment(self, now: float) -> EnrolmentState:
        """Whether the certificate can be used at Unix time ``now``; whom its authority is, the coordinator judges."""
        if self._opened is None:
            return EnrolmentState(False, "not enrolled: get a certificate from the authority")
        if now > self._opened.not_after:
            return EnrolmentState(False, "certificate expired: enrol again with the authority")
        if now < self._opened.not_before:
            return EnrolmentState(False, "certificate not valid yet: check this device's clock")
        return EnrolmentState(True, "enrolled" + (" (INSECURE DEMO)" if self._opened.insecure_demo else ""))

    def look_again(self) -> bool:
        """Read the certificate file; True when it holds one for this device.

        A damaged certificate, or another device's, counts as none: it must not keep the keyboard from starting.
        """
        try:
            certificate = (self._folder / "certificate").read_bytes()
            self._opened = _open_certificate(certificate, self.public_key)
        except (OSError, IdentityError):
            return False
        self._certificate = certificate
        self._trust = self._trusted_with(self._opened)
        return True

    def install(self, certificate: bytes) -> None:
        """Keep a certificate that was issued for this device's key.

        Raises:
            IdentityError: it is no certificate, or one of another key.
            OSError: it cannot be written.
        """
        opened = _open_certificate(certificate, self.public_key)
        write_atomically(self._folder / "certificate", certificate)
        self._certificate, self._opened = certificate, opened
        self._trust = self._trusted_with(opened)

    def _trusted_with(self, own: Certificate) -> TrustStore:
        """The list kept here if it knows the authority of this device's certificate, else that authority's key."""
        try:
            kept = TrustStore.restored((self._folder / "trust.list").read_bytes())
        except (OSError, TrustListRejected):
            kept = None
        if kept is not None and own.authority_key in [key.public_key for key in kept.keys]:
            return kept
        return TrustStore.pinned(own.authority_key)

    def enrol(self, authority_url: str, token: str, now: float, timeout_s: float = 10.0) -> None:
        """Ask the authority for a certificate: POST /v1/certificates with this key and a one-time token.

        Raises:
            IdentityError: the authority is away, declined, or answered with something else.
        """
        issued = request_certificate(authority_url, token, self.public_key, timeout_s)
        self.install(issued.certificate)
        self._accept_with(issued, now)

    def _accept_with(self, issued: Issued, now: float) -> None:
        """The trust list that came with a certificate: from here on a coordinator can withhold none but newer ones."""
        try:
            if issued.trust:
                self.accept_trust(issued.trust, now)
        except TrustListRejected as problem:
            raise IdentityError(f"the certificate came with a trust list that does not count: {problem}") from None


def assign_arm(fingerprint: bytes, salt: bytes = ARM_SALT, holdback_percent: int = HOLDBACK_PERCENT) -> str:
    """The arm of a device: SHA-256 of salt and fingerprint, modulo 100."""
    number = int.from_bytes(hashlib.sha256(salt + fingerprint).digest(), "big") % 100
    return HOLDBACK if number < holdback_percent else TREATMENT


class _Answer(msgspec.Struct, frozen=True):
    """As the authority sends it, in hex."""

    certificate: str
    trust: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """What an authority answered, not checked yet."""

    certificate: bytes
    trust: bytes = b""
    """Its newest trust list; empty where it never made one."""


def request_certificate(authority_url: str, token: str, public_key: bytes, timeout_s: float = 10.0) -> Issued:
    """The HTTP side of :meth:`DeviceIdentity.enrol`.

    Raises:
        IdentityError: see there.
    """
    return _ask(authority_url, "/v1/certificates", {"public_key": public_key.hex(), "token": token}, timeout_s)


def request_renewal(authority_url: str, renewal: Renewal, timeout_s: float = 10.0) -> Issued:
    """The HTTP side of :meth:`DeviceIdentity.renew`.

    Raises:
        IdentityError: see there.
    """
    return _ask(authority_url, "/v1/renewals", {"renewal": renewal.encode().hex()}, timeout_s)


def _ask(authority_url: str, call: str, question: dict[str, str], timeout_s: float) -> Issued:
    import urllib3
    from urllib3.exceptions import HTTPError

    body = json.dumps(question).encode()
    try:
        pool = urllib3.connection_from_url(authority_url, timeout=timeout_s, retries=False, maxsize=1)
    except (HTTPError, ValueError):
        raise IdentityError("the authority's address is not one like http://host:port") from None
    path = (urllib3.util.parse_url(authority_url).path or "").rstrip("/") + call
    try:
        answer = pool.urlopen(
            "POST",
            path,
            body=body,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            preload_content=False,
            redirect=False,
        )
        raw = answer.read(_LARGEST_ANSWER_BYTES)
    except (HTTPError, OSError) as problem:
        raise IdentityError(f"the authority is out of reach ({type(problem).__name__}): try again later") from None
    finally:
        pool.close()
    if answer.status in (401, 403):
        raise IdentityError("the authority declined: ask for a new token")
    if answer.status != 200:
        raise IdentityError(f"the authority answered with status {answer.status}: try again later")
    try:
        found = msgspec.json.decode(raw, type=_Answer)
        return Issued(bytes.fromhex(found.certificate), bytes.fromhex(found.trust))
    except (msgspec.DecodeError, ValueError):
        raise IdentityError("the authority's answer holds no certificate") from None


def _open_certificate(raw: bytes, public_key: bytes) -> Certificate:
    try:
        certificate: Certificate = wire.decode(raw, Certificate, limit_bytes=CERTIFICATE_LIMIT_BYTES)
    except MalformedMessage:
        raise IdentityError("this is not a certificate: place the file that `authority issue` wrote") from None
    if certificate.device_key != public_key:
        raise IdentityError("this certificate is for another device: have one issued for this device's public key")
    try:
        return verify(raw, certificate.authority_key, None)
    except EnrolmentError:
        raise IdentityError("this certificate's signature is not its authority's: have it issued anew") from None
