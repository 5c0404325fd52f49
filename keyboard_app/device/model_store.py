"""Downloaded models on disk: verified by digest, written atomically, the previous and a pinned one kept.

Layout under ``home/models``: ``{version}-{digest}.model`` holds the artifact exactly as served, and ``index.json`` says
which is current and which is previous. v0 comes out of the release bundle and needs no file. A file whose SHA-256
is not the one in its name is set aside as ``*.corrupt-N``; the store then falls back to the previous model, and
from there to v0, so that there is always a model to rank with.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from federated_protocol.messages import ModelArtifact, ModelNotice
from keyboard_app.device.files import set_aside, write_atomically
from suggestion_model.types import Head, HeadShape


class ModelRejectedError(Exception):
    """A downloaded model is not what was announced, or does not fit this device's bundle; the old one stays."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model ready to rank with."""

    version: int
    digest: str
    """SHA-256 (hex) of the artifact; empty for the bundle's own v0."""
    weights: NDArray[np.float32]
    """float32[d], read-only."""
    threshold: float
    """Offer the top candidate when its logit exceeds this."""
    head: Head = Head.RANKER
    """Which of the bundle's models the weights belong to."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    digest: str


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: _Entry | None = None
    previous: _Entry | None = None
    pinned: _Entry | None = None
    """What the owner rolled back to; version 0 has an empty digest."""
    holdback: _Entry | None = None
    """What the holdback arm ranks with; None is version 0."""


class ModelStore:
    """Current, previous, v0, and what the holdback arm ranks with.

    Args:
        folder: where models are kept; created when the first one arrives.
        bundle_digest: SHA-256 (hex) of the release bundle on this device.
        weights0: float32[d], the bundle's own weights of the ranker.
        threshold0: the bundle's own trigger threshold.
        report: told in a sentence when a damaged file was set aside.
        check_release: refuses a downloaded model that no release key signed, as
            :meth:`keyboard_app.device.release_client.ReleaseClient.check`; None where no root is pinned.
        heads: the bundle's; the ranker alone by default.
    """

    def __init__(
        self,
        folder: Path,
        bundle_digest: str,
        weights0: NDArray[np.float32],
        threshold0: float,
        report: Callable[[str], None] = lambda sentence: None,
        check_release: Callable[[int, bytes | memoryview], None] | None = None,
        heads: Sequence[HeadShape] = (),
    ) -> None:
        self._folder = folder
        shapes = heads or (HeadShape(Head.RANKER, bundle_digest, int(weights0.shape[0])),)
        self._shapes = {shape.digest: shape for shape in shapes}
        self._report = report
        self._check_release = check_release
        self._lock = threading.RLock()
        self.dimensions = tuple(shape.dimension for shape in shapes)
        """Numbers of weights d that a model may have here."""
        self.v0 = StoredModel(0, "", _frozen(weights0), threshold0)
        published = ModelArtifact(0, 0, bundle_digest, weights0.astype("<f4").tobytes(), float(threshold0))
        self._digest0 = hashlib.sha256(msgspec.msgpack.encode(published)).hexdigest()
        self._index = self._read_index()
        self._current = self._recover()
        self._pinned = None if self._index.pinned is None else self._load(self._index.pinned)
        self._holdback = None if self._index.holdback is None else self._load(self._index.holdback)

    @property
    def current(self) -> StoredModel:
        """The newest model that is whole."""
        with self._lock:
            return self._current

    @property
    def previous(self) -> StoredModel | None:
        """The model before the current one, while its file is whole."""
        with self._lock:
            entry = self._index.previous
            return None if entry is None else self._load(entry)

    @property
    def pinned(self) -> StoredModel | None:
        """The model its owner rolled back to; None while the newest is used."""
        with self._lock:
            return self._pinned

    @property
    def in_use(self) -> StoredModel:
        """What is to rank: the pinned model, else the current one."""
        with self._lock:
            return self._pinned or self._current

    @property
    def holdback(self) -> StoredModel:
        """What ranks in the holdback arm: version 0, until another one was rolled out to all arms."""
        with self._lock:
            return self._holdback or self.v0

    def pin(self, model: StoredModel | None) -> None:
        """Stay with ``model`` (the current, the previous or v0) whatever arrives; None follows the newest again.

        Raises:
            OSError: the index cannot be written; nothing has changed.
        """
        with self._lock:
            entry = None if model is None else _Entry(model.version, model.digest)
            self._write_index(msgspec.structs.replace(self._index, pinned=entry))
            self._pinned = model
            self._sweep()

    def holds(self, notice: ModelNotice) -> bool:
        """Whether the current model is the announced one."""
        return self._is(self.current, notice.version, notice.digest)

    def holds_for_holdback(self, notice: ModelNotice) -> bool:
        """Whether the holdback's model is the announced one."""
        announced, held = notice.holdback, self.holdback
        return (held.version, held.digest) == ((0, "") if announced is None else (announced.version, announced.digest))

    def find(self, version: int, digest: str) -> StoredModel | None:
        """The current model, the previous one or v0 if it is exactly this one, else None."""
        found = (self.current, self.previous, self.v0)
        return next((model for model in found if model is not None and self._is(model, version, digest)), None)

    def _is(self, model: StoredModel, version: int, digest: str) -> bool:
        """What ships with the app is as good as fetched where a coordinator's version 0 has the same content."""
        return (model.version, model.digest or self._digest0) == (version, digest)

    def verify(self, raw: bytes | memoryview, version: int, digest: str) -> StoredModel:
        """Check a downloaded artifact without keeping it.

        Raises:
            ModelRejectedError: digest, version, bundle, size or numbers are not as they should be, or it is not signed.
        """
        model = self._read(raw, version, digest)
        if self._check_release is not None:
            self._check_release(version, raw)
        return model

    def _read(self, raw: bytes | memoryview, version: int, digest: str) -> StoredModel:
        if hashlib.sha256(raw).hexdigest() != digest:
            raise ModelRejectedError("the model's SHA-256 is not the announced one: download it again")
        try:
            artifact = msgspec.msgpack.decode(raw, type=ModelArtifact)
        except (msgspec.DecodeError, RecursionError):
            raise ModelRejectedError("the model artifact cannot be decoded") from None
        if artifact.version != version:
            raise ModelRejectedError(f"the artifact says version {artifact.version}, announced was {version}")
        shape = self._shapes.get(artifact.bundle_digest)
        if shape is None:
            raise ModelRejectedError("the model was trained on another release bundle: update the app")
        if len(artifact.weights) != 4 * shape.dimension:
            raise ModelRejectedError(f"{len(artifact.weights)} bytes of weights, expected {4 * shape.dimension}")
        weights = np.frombuffer(artifact.weights, dtype="<f4").astype(np.float32)
        if not (np.isfinite(weights).all() and np.isfinite(artifact.threshold)):
            raise ModelRejectedError("the model holds numbers that are not finite")
        return StoredModel(version, digest, _frozen(weights), artifact.threshold, shape.head)

    def admit(self, raw: bytes | memoryview, notice: ModelNotice) -> StoredModel:
        """Verify a downloaded artifact, keep it as the current model, and return it.

        Raises:
            ModelRejectedError: it is not what was announced; nothing has changed.
            OSError: the disk is full or read-only; nothing has changed.
        """
        model = self.verify(raw, notice.version, notice.digest)
        with self._lock:
            if self.holds(notice):
                return self._current
            entry = _Entry(model.version, model.digest)
            write_atomically(self._path(entry), bytes(raw))
            before = _Entry(self._current.version, self._current.digest) if self._current.digest else None
            self._write_index(msgspec.structs.replace(self._index, current=entry, previous=before))
            self._current = model
            self._sweep()
            return model

    def admit_for_holdback(self, raw: bytes | memoryview | None, notice: ModelNotice) -> StoredModel:
        """Like :meth:`admit` for what the holdback is to rank with; None for ``raw`` where that is version 0.

        Raises:
            ModelRejectedError: it is not what was announced; nothing has changed.
            OSError: the disk is full or read-only; nothing has changed.
        """
        announced, model, entry = notice.holdback, None, None
        if announced is not None and raw is not None:
            model = self.verify(raw, announced.version, announced.digest)
            entry = _Entry(model.version, model.digest)
        with self._lock:
            if entry is not None and raw is not None:
                write_atomically(self._path(entry), bytes(raw))
            self._write_index(msgspec.structs.replace(self._index, holdback=entry))
            self._holdback = model
            self._sweep()
            return self.holdback

    def _recover(self) -> StoredModel:
        for entry in (self._index.current, self._index.previous):
            if entry is None:
                continue
            model = self._load(entry)
            if model is not None:
                if entry != self._index.current:
                    self._write_index(msgspec.structs.replace(self._index, current=entry, previous=None))
                return model
        return self.v0

    def _load(self, entry: _Entry) -> StoredModel | None:
        if not entry.digest:
            return self.v0 if entry.version == 0 else None
        path = self._path(entry)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        try:
            return self._read(raw, entry.version, entry.digest)
        except ModelRejectedError as problem:
            self._set_aside(path, str(problem))
            return None

    def _read_index(self) -> _Index:
        path = self._folder / "index.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Index)
        except OSError:
            return _Index()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._set_aside(path, "the index of models cannot be read")
            return _Index()

    def _write_index(self, index: _Index) -> None:
        write_atomically(self._folder / "index.json", msgspec.json.encode(index))
        self._index = index

    def _path(self, entry: _Entry) -> Path:
        digest = "".join(c for c in entry.digest if c in "0123456789abcdef")
        return self._folder / f"{entry.version}-{digest}.model"

    def _set_aside(self, path: Path, why: str) -> None:
        kept = set_aside(path)
        if kept is not None:
            self._report(f"{why}; set aside as {kept.name}, the model before it is used")

    def _sweep(self) -> None:
        index = self._index
        entries = (index.current, index.previous, index.pinned, index.holdback)
        keep = {self._path(entry).name for entry in entries if entry is not None}
        for path in self._folder.glob("*.model"):
            if path.name not in keep:
                path.unlink(missing_ok=True)


def _frozen(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    copy = np.array(weights, dtype=np.float32)
    copy.flags.writeable = False
    return copy
