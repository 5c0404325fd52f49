"""An authority on disk: ``private.key`` (mode 0600), ``public.key`` (give it to coordinators), ``authority.json``."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from coordinator.errors import CoordinatorError
from coordinator.trust_anchor import TrustAnchor
from federated_protocol import wire
from federated_protocol.enrolment import Certificate, issue
from federated_protocol.errors import FederatedProtocolError, MalformedMessage
from federated_protocol.renewal import open_renewal, renewal_due
from federated_protocol.signing import Identity, fingerprint
from federated_protocol.trust import AuthorityKey, TrustList, TrustStore, issue_trust_list

PRIVATE_KEY, PUBLIC_KEY, CARD = "private.key", "public.key", "authority.json"
TRUST_LIST = "trust.list"
RENEWED = "renewed"
DEVICE_KEY, DEVICE_CERTIFICATE = "identity.key", "certificate"
DAY_S = 86_400.0
CLOCK_TOLERANCE_S = 3_600.0
"""Certificates begin this long before now, for devices whose clock is slow."""


class AuthorityError(CoordinatorError):
    """The authority's directory cannot be used, or a key cannot be certified."""


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    insecure_demo: bool


@dataclass(frozen=True)
class Authority:
    """Certifies device keys. ``insecure_demo`` marks every certificate it issues."""

    name: str
    insecure_demo: bool
    identity: Identity
    trust_list: TrustList | None = None
    """The newest list, if this authority ever made one."""

    @classmethod
    def create(cls, folder: Path, name: str, *, insecure_demo: bool = False) -> Authority:
        """Make a key pair in ``folder``; refuses to replace an existing one."""
        if (folder / PRIVATE_KEY).exists():
            raise AuthorityError(f"{folder} holds an authority already: use it, or choose another directory")
        identity = Identity.generate()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / PRIVATE_KEY, identity.private_bytes(), mode=0o600)
            anchor = TrustAnchor(identity.public_key, insecure_demo)
            _write(folder / CARD, msgspec.json.encode(_Card(name, insecure_demo)) + b"\n")
            _write(folder / PUBLIC_KEY, anchor.text().encode())
        except OSError as error:
            raise AuthorityError(
                f"cannot write to {folder} ({error.strerror}): check the path and its rights"
            ) from None
        return cls(name, insecure_demo, identity)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Open the authority in ``folder``."""
        try:
            raw = (folder / PRIVATE_KEY).read_bytes()
            card = msgspec.json.decode((folder / CARD).read_bytes(), type=_Card)
            identity = Identity.from_private_bytes(raw)
        except OSError:
            raise AuthorityError(f"{folder} holds no authority: run `authority init {folder}` first") from None
        except (msgspec.MsgspecError, FederatedProtocolError):
            raise AuthorityError(
                f"the authority in {folder} is damaged: restore {PRIVATE_KEY} and {CARD} from a backup"
            ) from None
        return cls(card.name, card.insecure_demo, identity, read_trust_list(folder))

    def certify(self, device_key: bytes, now: float, days: float) -> Certificate:
        """Certify a device's Ed25519 public key (32 bytes) for ``days`` from ``now`` (Unix seconds)."""
        if not 0 < days <= 3650:
            raise AuthorityError("a certificate is valid for more than 0 and at most 3650 days")
        try:
            return issue(
                self.identity,
                device_key,
                authority_name=self.name,
                not_before=now - CLOCK_TOLERANCE_S,
                not_after=now + days * DAY_S,
                insecure_demo=self.insecure_demo,
            )
        except FederatedProtocolError as error:
            raise AuthorityError(str(error)) from None

    def renew(self, request: bytes, renewed: Renewals, now: float, days: float) -> Certificate:
        """Certify the next key of a device whose certificate is in force; see :mod:`federated_protocol.renewal`.

        A certificate is renewed for one key, and only near its end: a device cannot multiply itself.

        Raises
        ------
        AuthorityError
            when the request does not hold or comes too early, or the certificate was renewed for another key before.
        """
        newest = read_trust_list(renewed.folder)
        trust = TrustStore.pinned(self.identity.public_key)
        if newest is not None:
            trust = TrustStore(newest.keys, frozenset(newest.revoked))
        try:
            former, next_key = open_renewal(request, trust, now)
        except FederatedProtocolError as error:
            raise AuthorityError(f"this key cannot be renewed: {error}") from None
        if not renewal_due(former, now):
            raise AuthorityError("this key's certificate is not near its end: ask again in its last third")
        if not renewed.claim(former.fingerprint, next_key):
            raise AuthorityError("this key has a successor already: enrol the device with a token")
        return self.certify(next_key, now, days)

    def next_trust_list(
        self,
        now: float,
        *,
        also: Sequence[bytes] = (),
        retire: Sequence[bytes] = (),
        revoke: Sequence[bytes] = (),
        days: float = 30.0,
        key_days: float = 730.0,
    ) -> TrustList:
        """The list that follows the one kept in this authority's folder.

        Parameters
        ----------
        now
            Unix time in seconds.
        also
            Ed25519 public keys that count from now on, for ``key_days``.
        retire
            Keys that count no more.
        revoke
            Fingerprints, 16 bytes each.
        days
            How long devices go on without a newer list.

        Raises
        ------
        AuthorityError
            when this authority's own key is to be retired: sign that list with the key that stays.
        """
        former = self.trust_list
        keys = {key.public_key: key for key in former.keys} if former is not None else {}
        keys.setdefault(
            self.identity.public_key,
            AuthorityKey(self.identity.public_key, now - CLOCK_TOLERANCE_S, now + key_days * DAY_S),
        )
        for public_key in also:
            keys[public_key] = AuthorityKey(public_key, now - CLOCK_TOLERANCE_S, now + key_days * DAY_S)
        for public_key in retire:
            keys.pop(public_key, None)
        if self.identity.public_key not in keys:
            raise AuthorityError("a list cannot retire the key that signs it: sign it with the authority that stays")
        revoked = (*(former.revoked if former is not None else ()), *revoke)
        serial = 1 if former is None else former.serial + 1
        try:
            return issue_trust_list(self.identity, serial, tuple(keys.values()), revoked, now + days * DAY_S)
        except FederatedProtocolError as error:
            raise AuthorityError(str(error)) from None

    def keep_trust_list(self, folder: Path, made: TrustList) -> None:
        """Write the list to the authority's folder, where the next one goes on from."""
        try:
            _write(folder / TRUST_LIST, made.encode())
        except OSError as error:
            raise AuthorityError(f"cannot write to {folder} ({error.strerror}): check its rights") from None

    def make_devices(
        self, folder: Path, count: int, now: float, days: float, progress: Callable[[], None] = lambda: None
    ) -> list[Path]:
        """Make ``count`` device homes in ``folder``, each with a key and a certificate; for demos only.

        A real device makes its key itself and shows the authority the public half.
        """
        if not self.insecure_demo:
            raise AuthorityError(
                "only a demo authority makes device keys: a real device makes its own; begin a demo authority with "
                "`authority init DIR --insecure-demo`"
            )
        width = max(3, len(str(count)))
        homes = [folder / f"device-{number:0{width}}" for number in range(1, count + 1)]
        for home in homes:
            if (home / DEVICE_KEY).exists():
                raise AuthorityError(f"{home} holds a device already: choose another --out directory")
        for home in homes:
            identity = Identity.generate()
            home.mkdir(parents=True, exist_ok=True)
            _write(home / DEVICE_KEY, identity.private_bytes(), mode=0o600)
            _write(home / DEVICE_CERTIFICATE, self.certify(identity.public_key, now, days).encode())
            progress()
        return homes


class Renewals:
    """Which key followed which, one line each in a file of the authority's folder; for one process that adds to it.

    Parameters
    ----------
    folder
        The authority's; the file is made with the first renewal.

    Raises
    ------
    AuthorityError
        when the file cannot be read: going on would let devices multiply.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = path = folder / RENEWED
        self._lock = threading.Lock()
        try:
            lines = path.read_text("ascii").splitlines() if path.exists() else []
            self._successors = {bytes.fromhex(a): bytes.fromhex(b) for a, b in (line.split() for line in lines)}
        except (OSError, ValueError):
            raise AuthorityError(f"{path} is damaged: restore it from a backup") from None

    def claim(self, former: bytes, next_key: bytes) -> bool:
        """Note that ``next_key`` follows the key with fingerprint ``former``; False when another one does already."""
        with self._lock:
            known = self._successors.get(former)
            if known is None:
                with self._path.open("a", encoding="ascii") as file:
                    file.write(f"{former.hex()} {next_key.hex()}\n")
                    file.flush()
                    os.fsync(file.fileno())
                self._successors[former] = known = next_key
            return known == next_key

    def line_of(self, device: bytes) -> list[bytes]:
        """Fingerprints of a device's keys from the one given on: a revocation is about all of them."""
        line = [device]
        while (following := self._successors.get(line[-1])) is not None and fingerprint(following) not in line:
            line.append(fingerprint(following))
        return line


def read_trust_list(folder: Path) -> TrustList | None:
    """The newest list of the authority in ``folder``; None when it never made one."""
    try:
        return wire.decode((folder / TRUST_LIST).read_bytes(), TrustList)
    except FileNotFoundError:
        return None
    except (OSError, MalformedMessage):
        raise AuthorityError(f"{folder / TRUST_LIST} is damaged: restore it from a backup") from None


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(part, path)
