"""Key ceremonies of The Update Framework: make, rotate and revoke keys, approve releases offline.

Two folders. The *offline* one holds the private keys of ``root`` and ``targets`` and never touches a server: root says
whose signatures count, targets approves releases (bundle files, promoted models) and delegates ``rounds/*``. The
*online* one goes with the coordinator: private keys of ``snapshot``, ``timestamp`` and of ``rounds``, the delegated
role that signs round models, and the offline-signed metadata. Whoever takes the coordinator over can publish round
models until ``rounds`` is revoked offline; no more: devices refuse bundles, roots and delegations of that person.

Specification: https://theupdateframework.github.io/specification/latest/
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Signed, TargetFile, Targets

from coordinator.errors import ReleaseError

T = TypeVar("T", Root, Targets)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP, ROUNDS = "root", "targets", "snapshot", "timestamp", "rounds"
OFFLINE = (ROOT, TARGETS)
ONLINE = (SNAPSHOT, TIMESTAMP, ROUNDS)
ROUND_PATHS = "rounds/*"
DEMO_MARK = "x-insecure-demo"
"""A field of root metadata that the specification leaves to us."""
LIFETIME_DAYS: Mapping[str, float] = {ROOT: 365.0, TARGETS: 180.0, SNAPSHOT: 7.0, TIMESTAMP: 1.0, ROUNDS: 7.0}
"""A device refuses metadata older than this: nobody can hold it on an old model for longer."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A public key in force."""

    role: str
    key_id: str
    private_key_here: bool
    """Whether one of the two folders holds its private half."""


def make_keys(
    offline: Path,
    online: Path,
    now: float,
    *,
    root_keys: int = 1,
    root_threshold: int = 1,
    targets: Mapping[str, bytes],
    insecure_demo: bool = False,
) -> str:
    """Begin: keys for all five roles, root and targets version 1.

    Parameters
    ----------
    root_keys, root_threshold
        How many root keys are made and how many must sign a new root.
    targets
        What is approved from the start: path below the release, content.
    insecure_demo
        Mark the root, so that no device outside a demo pins it.

    Returns
    -------
    str
        SHA-256 (hex) of the root to be pinned on devices, ``online/metadata/1.root.json``.

    Raises
    ------
    ReleaseError
        when there are keys already, or the threshold cannot be met.
    """
    if not 1 <= root_threshold <= root_keys:
        raise ReleaseError("the root threshold must lie between 1 and the number of root keys")
    for folder in (offline, online):
        if folder.exists() and any(folder.glob("*.pem")):
            raise ReleaseError(f"{folder} holds keys already: rotate them, or name another folder")
    made: dict[str, list[CryptoSigner]] = {}
    for role in (*OFFLINE, *ONLINE):
        folder = offline if role in OFFLINE else online
        made[role] = [_make_key(folder, role) for _ in range(root_keys if role == ROOT else 1)]
    root = Root(version=1, expires=expiry(ROOT, now), consistent_snapshot=True)
    if insecure_demo:
        root.unrecognized_fields[DEMO_MARK] = True
    for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        for signer in made[role]:
            root.add_key(signer.public_key, role)
    root.roles[ROOT].threshold = root_threshold
    approved = Targets(version=1, expires=expiry(TARGETS, now), targets=_target_files(targets))
    approved.delegations = Delegations(
        keys={signer.public_key.keyid: signer.public_key for signer in made[ROUNDS]},
        roles={
            ROUNDS: DelegatedRole(ROUNDS, [s.public_key.keyid for s in made[ROUNDS]], 1, True, paths=[ROUND_PATHS]),
        },
    )
    data = _sign(root, made[ROOT])
    _store(offline, online, ROOT, 1, data)
    _store(offline, online, TARGETS, 1, _sign(approved, made[TARGETS]))
    return hashlib.sha256(data).hexdigest()


def rotate(offline: Path, online: Path, role: str, now: float) -> str:
    """Replace every key of ``role`` by a new one and sign what says so; the old private halves are deleted.

    A new root is signed by the old root keys and the new ones, so that devices follow from the root they know.

    Returns
    -------
    str
        What to do next, one sentence.

    Raises
    ------
    ReleaseError
        when the role is unknown or an offline key needed for it is missing.
    """
    if role not in (*OFFLINE, *ONLINE):
        raise ReleaseError(f"there is no role {role}: choose one of {', '.join((*OFFLINE, *ONLINE))}")
    root, targets = _newest(offline, ROOT, Root), _newest(offline, TARGETS, Targets)
    folder = offline if role in OFFLINE else online
    previous_root = _signers(offline, root.signed.roles[ROOT].keyids)
    if len(previous_root) < root.signed.roles[ROOT].threshold:
        raise ReleaseError(f"{offline} holds too few root keys to sign: bring the others' key files together first")
    old_ids = _key_ids(root.signed, targets.signed, role)
    count = len(old_ids) if role == ROOT else 1
    made = [_make_key(folder, role) for _ in range(count)]
    if role == ROUNDS:
        delegations = targets.signed.delegations
        if delegations is None or delegations.roles is None:
            raise ReleaseError(f"{offline} delegates nothing: its targets metadata is not of this program")
        delegations.keys = {signer.public_key.keyid: signer.public_key for signer in made}
        delegations.roles[ROUNDS].keyids = [signer.public_key.keyid for signer in made]
        _next_version(targets.signed, TARGETS, now)
        signers = _signers(offline, root.signed.roles[TARGETS].keyids)
        _store(offline, online, TARGETS, targets.signed.version, _sign(targets.signed, signers))
    else:
        for key_id in old_ids:
            root.signed.revoke_key(key_id, role)
        for signer in made:
            root.signed.add_key(signer.public_key, role)
        _next_version(root.signed, ROOT, now)
        signers = [*previous_root, *(made if role == ROOT else ())]
        _store(offline, online, ROOT, root.signed.version, _sign(root.signed, signers))
        if role == TARGETS:
            _next_version(targets.signed, TARGETS, now)
            _store(offline, online, TARGETS, targets.signed.version, _sign(targets.signed, made))
    for key_id in old_ids:
        for path in folder.glob(f"{role}-{key_id[:16]}*.pem"):
            path.unlink()
    return "copy the online folder to every coordinator; a running one adopts the new metadata by itself"


def revoke(offline: Path, online: Path, key_id: str, now: float) -> str:
    """Take a key out of force: the role it belongs to is rotated. Returns the role.

    Raises
    ------
    ReleaseError
        when no role trusts a key of that id.
    """
    root, targets = _newest(offline, ROOT, Root), _newest(offline, TARGETS, Targets)
    for role in (*OFFLINE, *ONLINE):
        if len(key_id) >= 8 and any(known.startswith(key_id) for known in _key_ids(root.signed, targets.signed, role)):
            rotate(offline, online, role, now)
            return role
    raise ReleaseError("no role trusts that key: see `coordinator keys list`, and give at least 8 digits of its id")


def approve(offline: Path, online: Path, targets: Mapping[str, bytes], now: float) -> int:
    """Sign a release offline: the given targets replace or join those of earlier releases. Returns the version."""
    root, current = _newest(offline, ROOT, Root), _newest(offline, TARGETS, Targets)
    if any(path.startswith(ROUND_PATHS.rstrip("*")) for path in targets):
        raise ReleaseError(f"{ROUND_PATHS} belongs to the online role: choose another path for an approved release")
    current.signed.targets |= _target_files(targets)
    _next_version(current.signed, TARGETS, now)
    signers = _signers(offline, root.signed.roles[TARGETS].keyids)
    if not signers:
        raise ReleaseError(f"{offline} holds no targets key: approve where it is kept")
    _store(offline, online, TARGETS, current.signed.version, _sign(current.signed, signers))
    return current.signed.version


def list_keys(offline: Path | None, online: Path) -> list[KeyInfo]:
    """Every key in force, by role."""
    root, targets = _newest(online, ROOT, Root), _newest(online, TARGETS, Targets)
    found = []
    for role in (*OFFLINE, *ONLINE):
        folder = offline if role in OFFLINE else online
        for key_id in _key_ids(root.signed, targets.signed, role):
            here = folder is not None and bool(_signers(folder, [key_id]))
            found.append(KeyInfo(role, key_id, here))
    return found


def online_signers(online: Path, key_ids: Iterable[str]) -> list[CryptoSigner]:
    """Signers for those of the key ids whose private half is in the folder."""
    return _signers(online, key_ids)


def signed_offline(online: Path, role: str) -> list[tuple[int, bytes]]:
    """The offline-signed metadata of a role in the online folder, oldest first."""
    files = [(int(path.name.split(".")[0]), path) for path in (online / "metadata").glob(f"*.{role}.json")]
    return [(version, path.read_bytes()) for version, path in sorted(files)]


def expiry(role: str, now: float) -> datetime:
    """When metadata of ``role`` signed at ``now`` (Unix seconds) ends, whole seconds, UTC."""
    return datetime.fromtimestamp(int(now), UTC) + timedelta(days=LIFETIME_DAYS[role])


def _key_ids(root: Root, targets: Targets, role: str) -> list[str]:
    if role != ROUNDS:
        return list(root.roles[role].keyids)
    delegations = targets.delegations
    return list(delegations.roles[ROUNDS].keyids) if delegations is not None and delegations.roles else []


def _make_key(folder: Path, role: str) -> CryptoSigner:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = CryptoSigner.generate_ed25519()
    path = folder / f"{role}-{signer.public_key.keyid[:16]}.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(signer.private_bytes)
    return signer


def _signers(folder: Path, key_ids: Iterable[str]) -> list[CryptoSigner]:
    wanted = set(key_ids)
    found = []
    for path in sorted(folder.glob("*.pem")):
        try:
            signer = CryptoSigner(load_pem_private_key(path.read_bytes(), None))
        except (ValueError, TypeError, OSError):
            raise ReleaseError(f"{path} is no private key: restore it from its backup, or revoke it") from None
        if signer.public_key.keyid in wanted:
            found.append(signer)
    return found


def _newest(folder: Path, role: str, kind: type[T]) -> Metadata[T]:
    versions = signed_offline(folder, role)
    if not versions:
        raise ReleaseError(f"{folder} holds no {role} metadata: run `coordinator keys make` first")
    try:
        found: Metadata[T] = Metadata.from_bytes(versions[-1][1])
        return found
    except RepositoryError:
        raise ReleaseError(f"the newest {role} metadata in {folder} cannot be read: restore it") from None


def _next_version(signed: Signed, role: str, now: float) -> None:
    signed.version += 1
    signed.expires = expiry(role, now)


def _sign(signed: Signed, signers: Iterable[CryptoSigner]) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _store(offline: Path, online: Path, role: str, version: int, data: bytes) -> None:
    for folder in (offline, online):
        (folder / "metadata").mkdir(parents=True, exist_ok=True)
        part = folder / "metadata" / f"{version}.{role}.part"
        part.write_bytes(data)
        os.replace(part, folder / "metadata" / f"{version}.{role}.json")


def _target_files(targets: Mapping[str, bytes]) -> dict[str, TargetFile]:
    return {path: TargetFile.from_data(path, content, ["sha256"]) for path, content in targets.items()}


__all__ = [
    "KeyInfo",
    "approve",
    "expiry",
    "list_keys",
    "make_keys",
    "online_signers",
    "revoke",
    "rotate",
    "signed_offline",
]
