"""The online half of The Update Framework: signs round models, snapshot and timestamp, whenever something is due.

The signed files live in the database, so any process serves any of them. Nothing tells the publisher that a model was
made: it compares what is signed with what is there, before a device reads the timestamp. So no device can ever see
metadata that lags behind a model another device was told of.

Versions only rise, even when an older backup of the database is restored: before a version is used, it is noted in
``versions.json`` beside the keys (:mod:`coordinator.operation.high_water`), and the next one starts above both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from coordinator.errors import ReleaseError
from coordinator.operation.high_water import HighWater, raising
from coordinator.releases.rollout import GONE, holdback_versions
from coordinator.releases.signing_keys import (
    LIFETIME_DAYS,
    ROOT,
    ROUNDS,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    expiry,
    online_signers,
    signed_offline,
)
from coordinator.storage import Database
from coordinator.storage.tables import models, release_metadata, rollouts
from federated_protocol.releases import model_target_path

VERSIONS_KEPT = 20
"""Older snapshot and rounds files are pruned; a device in the middle of a refresh still finds its own."""
MODELS_SIGNED = 64
"""Newest round models that stay valid targets."""


class MetadataPublisher:
    """Keeps the signed metadata of one database up to date.

    Parameters
    ----------
    online
        The folder that ``coordinator keys make`` filled, see :mod:`coordinator.releases.signing_keys`.
    """

    def __init__(self, database: Database, online: Path, clock: Callable[[], float]) -> None:
        self._database = database
        self._online = online
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] = ()
        self._next_look = 0.0
        if not signed_offline(online, ROOT) or not signed_offline(online, TARGETS):
            raise ReleaseError(f"{online} holds no signed root and targets: run `coordinator keys make`, or unset it")

    def file(self, name: str) -> bytes | None:
        """A metadata file by its name in the specification (``timestamp.json``, ``3.rounds.json``), or None."""
        parts = name.split(".")
        if parts[-1] != "json" or len(parts) not in (2, 3):
            return None
        role = parts[-2]
        if role in (ROOT, TIMESTAMP):  # a device asks for these first
            self.bring_up_to_date()
        with self._database.reading() as connection:
            if len(parts) == 2:
                return _newest(connection, role)[1] if role == TIMESTAMP else None
            if not (parts[0].isdecimal() and len(parts[0]) < 10):
                return None
            return connection.scalar(
                select(release_metadata.c.content).where(
                    release_metadata.c.role == role, release_metadata.c.version == int(parts[0])
                )
            )

    def bring_up_to_date(self) -> bool:
        """Adopt what was signed offline and sign what is due; whether anything was signed.

        Raises
        ------
        ReleaseError
            when keys are missing, or offline metadata does not follow from what is in force.
        """
        now = self._clock()
        with self._lock:
            seen = self._state()
            if seen == self._seen and now < self._next_look:
                return False
            with self._database.writing() as connection:
                signed = self._update(connection, now)
            self._seen, self._next_look = seen, now + 3600.0 * LIFETIME_DAYS[TIMESTAMP]
            return signed

    def _state(self) -> tuple[object, ...]:
        with self._database.reading() as connection:
            newest = connection.scalar(select(func.max(models.c.version)))
            gone = connection.scalar(select(func.count()).where(rollouts.c.state.in_(GONE)))
            stamped = connection.scalar(
                select(func.max(release_metadata.c.version)).where(release_metadata.c.role == TIMESTAMP)
            )
            held = tuple(holdback_versions(connection))
        return newest, gone, held, stamped, tuple(sorted(path.name for path in (self._online / "metadata").iterdir()))

    def _update(self, connection: Connection, now: float) -> bool:
        root = self._adopt(connection, ROOT, None)
        assert isinstance(root, Root)
        targets = self._adopt(connection, TARGETS, root)
        wanted = _round_targets(connection)
        before = _newest(connection, TIMESTAMP)[0]
        rounds_version = self._refresh(
            connection, ROUNDS, now, targets, lambda old: isinstance(old, Targets) and old.targets == wanted,
            lambda version: Targets(version=version, expires=expiry(ROUNDS, now), targets=wanted),
        )  # fmt: skip
        meta = {"targets.json": MetaFile(targets.version), "rounds.json": MetaFile(rounds_version)}
        snapshot_version = self._refresh(
            connection, SNAPSHOT, now, root, lambda old: isinstance(old, Snapshot) and old.meta == meta,
            lambda version: Snapshot(version=version, expires=expiry(SNAPSHOT, now), meta=meta),
        )  # fmt: skip
        of_snapshot = MetaFile(snapshot_version)
        stamped = self._refresh(
            connection, TIMESTAMP, now, root,
            lambda old: isinstance(old, Timestamp) and old.snapshot_meta == of_snapshot,
            lambda version: Timestamp(version=version, expires=expiry(TIMESTAMP, now), snapshot_meta=of_snapshot),
        )  # fmt: skip
        return stamped != before

    def _adopt(self, connection: Connection, role: str, root: Root | None) -> Root | Targets:
        """Take over newer offline-signed versions, each verified against the one before (targets: against root)."""
        version, data = _newest(connection, role)
        current = None if data is None else Metadata.from_bytes(data)
        for candidate_version, candidate in signed_offline(self._online, role):
            if candidate_version <= version:
                continue
            try:
                parsed = Metadata.from_bytes(candidate)
                trusted: Root = parsed.signed if root is None else root
                if root is None and current is not None:
                    current.signed.verify_delegate(role, parsed.signed_bytes, parsed.signatures)
                trusted.verify_delegate(role, parsed.signed_bytes, parsed.signatures)
            except RepositoryError:
                raise ReleaseError(
                    f"{candidate_version}.{role}.json in {self._online} is not signed by the keys in force: "
                    "copy the whole online folder as the key ceremony left it"
                ) from None
            _put(connection, role, candidate_version, candidate, 0.0)
            current, version = parsed, candidate_version
        if current is None:
            raise ReleaseError(f"{self._online} holds no {role} metadata: run `coordinator keys make`")
        return current.signed

    def _refresh(
        self,
        connection: Connection,
        role: str,
        now: float,
        delegator: Root | Targets,
        fits: Callable[[Signed], bool],
        make: Callable[[int], Signed],
    ) -> int:
        """Keep the newest version of ``role`` if it is right, or sign the next; returns its version."""
        version, data = _newest(connection, role)
        if data is not None:
            current = Metadata.from_bytes(data)
            half_life = LIFETIME_DAYS[role] * 43_200.0
            fresh = current.signed.expires.replace(tzinfo=UTC) > datetime.fromtimestamp(now + half_life, UTC)
            try:
                delegator.verify_delegate(role, current.signed_bytes, current.signatures)
            except RepositoryError:
                fresh = False  # its key was rotated
            if fresh and fits(current.signed) and HighWater.read(self._online).roles.get(role, 0) <= version:
                return version
        key_ids = delegator.get_delegated_role(role).keyids
        signers = online_signers(self._online, key_ids)
        if not signers:
            raise ReleaseError(f"{self._online} holds no key of the role {role}: copy it from the key ceremony")
        with raising(self._online) as marks:  # before the commit: a version lost in a crash is skipped
            version = max(version, marks.roles.get(role, 0)) + 1
            newest_model = connection.scalar(select(func.max(models.c.version))) or 0
            marks.roles[role], marks.model = version, max(marks.model, newest_model)
        metadata: Metadata[Any] = Metadata(make(version))
        for signer in signers:
            metadata.sign(signer, append=True)
        _put(connection, role, version, metadata.to_bytes(), now)
        kept = 1 if role == TIMESTAMP else VERSIONS_KEPT
        connection.execute(
            delete(release_metadata).where(
                release_metadata.c.role == role, release_metadata.c.version <= version - kept
            )
        )
        return version


def _round_targets(connection: Connection) -> dict[str, TargetFile]:
    """The newest models that stand, and those that the holdback stays on however old they are."""
    gone = select(rollouts.c.version).where(rollouts.c.state.in_(GONE))
    standing = select(models.c.version).where(models.c.version.not_in(gone))
    newest = standing.order_by(models.c.version.desc()).limit(MODELS_SIGNED)
    query = select(models.c.version, models.c.digest, func.length(models.c.artifact)).where(
        models.c.version.in_([*connection.scalars(newest), *holdback_versions(connection)])
    )
    found = {}
    for version, digest, size in connection.execute(query):
        path = model_target_path(version)
        found[path] = TargetFile(size, {"sha256": digest}, path)
    return found


def _newest(connection: Connection, role: str) -> tuple[int, bytes | None]:
    row = connection.execute(
        select(release_metadata.c.version, release_metadata.c.content)
        .where(release_metadata.c.role == role)
        .order_by(release_metadata.c.version.desc())
        .limit(1)
    ).one_or_none()
    return (0, None) if row is None else (row.version, row.content)


def _put(connection: Connection, role: str, version: int, content: bytes, now: float) -> None:
    connection.execute(insert(release_metadata).values(role=role, version=version, content=content, signed_at=now))
