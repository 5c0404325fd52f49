"""Publish and serve model versions. A version is one row, written once, in the transaction that ends its round."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, Select, select, update

from coordinator.errors import ReleaseError
from coordinator.storage import Database
from coordinator.storage.database import inserted
from coordinator.storage.tables import models
from federated_protocol import wire
from federated_protocol.messages import ModelArtifact

ARTIFACTS_KEPT = 4
"""In memory, for whoever asks next."""


def artifact_bytes(artifact: ModelArtifact) -> bytes:
    """The canonical encoding of an artifact: what is stored, served and digested."""
    return wire.encode(artifact)


def artifact_digest(data: bytes) -> str:
    """SHA-256 of the served bytes, hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model version and where it came from."""

    version: int
    parent: int
    digest: str
    bundle_digest: str
    threshold: float
    participants: int
    """Devices in the sum it was made from; 0 for v0."""
    examples: int
    update_norm: float | None
    """L2 norm of the averaged update; None for v0."""
    created_at: float


class ModelStore:
    """The model versions of one database; the newest is the current one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._artifacts: dict[int, bytes] = {}

    def ensure_initial(self, artifact: ModelArtifact, now: float) -> None:
        """Store version 0 in a new database; in an older one check that it is the same bundle.

        Raises
        ------
        ReleaseError
            when the database was begun with another bundle: weights only fit the bundle they were trained on.
        """
        if artifact.version != 0 or not artifact.weights or len(artifact.weights) % 4:
            raise ReleaseError("the initial model must be version 0 with float32 weights: rebuild the bundle")
        with self._database.writing() as connection:
            known = connection.scalar(select(models.c.bundle_digest).where(models.c.version == 0))
            if known is None:
                add_model(connection, artifact, optimizer_state=None, round_id=None, now=now)
            elif known != artifact.bundle_digest:
                raise ReleaseError(
                    "this database was begun with another model bundle, or another algorithm that trains another model "
                    "of it; its versions do not fit. Install the package version that made it and leave `algorithm` as "
                    "it was, or begin a new database with another --database"
                )

    def current(self) -> PublishedModel:
        """The newest version."""
        with self._database.reading() as connection:
            return current_model(connection)

    def all(self) -> list[PublishedModel]:
        """Every version, oldest first."""
        with self._database.reading() as connection:
            return [_published(row._mapping) for row in connection.execute(summary().order_by(models.c.version))]

    def artifact(self, version: int) -> bytes | None:
        """The canonical bytes of a version, None when there is no such version."""
        found = self._artifacts.get(version)
        if found is None:  # a version never changes, and every device of a round fetches the same one
            with self._database.reading() as connection:
                found = connection.scalar(select(models.c.artifact).where(models.c.version == version))
            if found is not None:
                if len(self._artifacts) >= ARTIFACTS_KEPT:
                    self._artifacts.clear()
                self._artifacts[version] = found
        return found


def current_model(connection: Connection) -> PublishedModel:
    """The newest version, inside a transaction."""
    row = connection.execute(summary().order_by(models.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise ReleaseError("the database holds no model: start the coordinator once with its bundle")
    return _published(row._mapping)


def published_model(connection: Connection, version: int) -> PublishedModel:
    """One version, inside a transaction."""
    row = connection.execute(summary().where(models.c.version == version)).one_or_none()
    if row is None:
        raise ReleaseError(f"model version {version} is not in the database")
    return _published(row._mapping)


def load_artifact(connection: Connection, version: int) -> tuple[ModelArtifact, bytes | None]:
    """A version's artifact and the server optimiser's state after it."""
    row = connection.execute(
        select(models.c.artifact, models.c.optimizer_state).where(models.c.version == version)
    ).one_or_none()
    if row is None:
        raise ReleaseError(f"model version {version} is not in the database")
    return wire.decode(row.artifact, ModelArtifact), row.optimizer_state


def add_model(
    connection: Connection,
    artifact: ModelArtifact,
    *,
    optimizer_state: bytes | None,
    round_id: int | None,
    now: float,
    participants: int = 0,
    examples: int = 0,
    update_norm: float | None = None,
) -> bool:
    """Add a version; False when the version, or one from this round, exists already: nothing is published twice."""
    data = artifact_bytes(artifact)
    return inserted(
        connection,
        models,
        version=artifact.version,
        parent=artifact.parent,
        digest=artifact_digest(data),
        bundle_digest=artifact.bundle_digest,
        artifact=data,
        threshold=artifact.threshold,
        optimizer_state=optimizer_state,
        round_id=round_id,
        participants=participants,
        examples=examples,
        update_norm=update_norm,
        created_at=now,
    )


def set_optimizer_state(connection: Connection, version: int, state: bytes) -> None:
    """What the server's optimiser knows at a version has grown; the version itself stays as it is."""
    connection.execute(update(models).where(models.c.version == version).values(optimizer_state=state))


def weights_of(artifact: ModelArtifact) -> NDArray[np.float64]:
    """The weights as a vector [d], float64 for arithmetic."""
    return np.frombuffer(artifact.weights, dtype="<f4").astype(np.float64)


def summary() -> Select[Any]:
    """What a :class:`PublishedModel` is read from; callers narrow it."""
    return select(
        models.c.version,
        models.c.parent,
        models.c.digest,
        models.c.bundle_digest,
        models.c.threshold,
        models.c.participants,
        models.c.examples,
        models.c.update_norm,
        models.c.created_at,
    )


def _published(row: RowMapping) -> PublishedModel:
    return PublishedModel(**{str(name): value for name, value in row.items()})
