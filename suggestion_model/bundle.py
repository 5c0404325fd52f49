"""A release bundle: the files a model version 0 consists of, verified against a manifest.

A bundle is a directory with ``manifest.json`` (SHA-256 of every other file), ``card.json``, ``ranker.tflite``,
``trigger.tflite``, ``weights.npy``, ``tokenizer.model`` and ``catalog.json.gz``. Its digest is the SHA-256 of the
manifest's bytes and names the whole. Nothing here imports LiteRT or TensorFlow: the coordinator reads weights and
threshold only.
"""

from __future__ import annotations

import hashlib
import io
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import BundleError
from .hashed_features import BIAS_ID, SCORE_ID
from .types import Head, HeadShape

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CARD = "card.json"
RANKER = "ranker.tflite"
TRIGGER = "trigger.tflite"
WEIGHTS = "weights.npy"
TOKENIZER = "tokenizer.model"
CATALOG = "catalog.json.gz"
FILES = (CARD, RANKER, TRIGGER, WEIGHTS, TOKENIZER, CATALOG)

_T = TypeVar("_T")

_SHIPPED = Path(__file__).parent / "releases" / "v0"
_ADVICE = "Install the release again, or rebuild it with `suggestion-model build`."


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shapes the model file was made with."""

    dimension: int
    """Number d of trainable float32 weights."""
    line_tokens: int
    earlier_tokens: int
    candidate_tokens: int
    dense_names: tuple[str, ...]
    infer_batch: int
    """Candidates scored per call, padded."""
    train_batch: int
    """Examples per training step, padded with example weight 0."""
    vocabulary: int
    embedding_dimensions: int
    hash_buckets: int
    """Weights of the trigger."""
    summary: str
    """One paragraph for people."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trigger threshold of version 0 and how it was found."""

    logit: float
    baseline_score: float
    offer_share: float
    """Share of unlabelled lines whose best candidate lies above it."""
    method: str


class BaselineLogit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version 0's logit is ``slope * baseline_score + intercept``."""

    slope: float
    intercept: float


class DataSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One source of text the bundle learned from."""

    name: str
    files: tuple[str, ...]
    licence: str
    used_for: str


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model card."""

    format_version: int
    name: str
    intended_use: str
    out_of_scope: str
    how_made: str
    labels_seen: str
    threshold: Threshold
    baseline_logit: BaselineLogit
    architecture: Architecture
    data: tuple[DataSource, ...]
    licence: str
    sizes_bytes: dict[str, int]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 (hex) per file name."""

    format_version: int
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk. Make it with :meth:`load` or :meth:`shipped`."""

    path: Path
    digest: str
    """SHA-256 (hex) of the manifest."""
    card: Card
    ranker: bytes
    """The ``.tflite`` file."""
    trigger: bytes
    """The ``.tflite`` file of the trigger: logistic regression over hashed features."""
    tokenizer: bytes
    """The SentencePiece model."""

    @classmethod
    def shipped(cls) -> Bundle:
        """The bundle this package ships as version 0.

        Raises:
            BundleError: the installation is damaged.
        """
        return cls.load(_SHIPPED)

    @classmethod
    def load(cls, path: Path | str) -> Bundle:
        """Read and verify a bundle directory.

        Raises:
            BundleError: a file is missing, differs from the manifest, or does not hold what it should; the message
                names the file and what to do.
        """
        path = Path(path)
        if not path.is_dir():
            raise BundleError(f"{path}: no bundle directory there. {_ADVICE}")
        manifest_bytes = _read(path, MANIFEST)
        manifest = _decode(path, MANIFEST, manifest_bytes, Manifest)
        if manifest.format_version != FORMAT_VERSION:
            raise BundleError(
                f"{path / MANIFEST}: format {manifest.format_version}, this version reads "
                f"{FORMAT_VERSION}. Install the release that matches this program."
            )
        if missing := sorted(set(FILES) - set(manifest.files)):
            raise BundleError(f"{path / MANIFEST}: does not list {', '.join(missing)}. {_ADVICE}")
        if unsafe := sorted(name for name in manifest.files if Path(name).name != name):
            raise BundleError(f"{path / MANIFEST}: lists {len(unsafe)} names outside its directory. {_ADVICE}")
        content = {}
        for name, expected in manifest.files.items():
            content[name] = _read(path, name)
            if hashlib.sha256(content[name]).hexdigest() != expected:
                raise BundleError(f"{path / name}: damaged, its SHA-256 differs from the manifest's. {_ADVICE}")
        card = _decode(path, CARD, content[CARD], Card)
        bundle = cls(
            path,
            hashlib.sha256(manifest_bytes).hexdigest(),
            card,
            content[RANKER],
            content[TRIGGER],
            content[TOKENIZER],
        )
        bundle._check_weights(content[WEIGHTS])
        return bundle

    @property
    def name(self) -> str:
        """Directory name, for messages."""
        return self.path.name

    @property
    def architecture(self) -> Architecture:
        """Shapes the model file was made with."""
        return self.card.architecture

    @property
    def dimension(self) -> int:
        """Number d of trainable weights."""
        return self.card.architecture.dimension

    @cached_property
    def weights0(self) -> NDArray[np.float32]:
        """Weights of version 0, float32[dimension]; read-only."""
        return self._check_weights(_read(self.path, WEIGHTS))

    @property
    def trigger_weights0(self) -> NDArray[np.float32]:
        """Weights of the trigger at version 0, float32[hash_buckets]: the same logit as the ranker's."""
        weights = np.zeros(self.architecture.hash_buckets, np.float32)
        weights[BIAS_ID], weights[SCORE_ID] = self.card.baseline_logit.intercept, self.card.baseline_logit.slope
        return weights

    @property
    def heads(self) -> tuple[HeadShape, ...]:
        """Both heads; that of the ranker bears the bundle's own digest."""
        trigger = hashlib.sha256(f"{self.digest} {Head.TRIGGER.value}".encode()).hexdigest()
        return (
            HeadShape(Head.RANKER, self.digest, self.dimension),
            HeadShape(Head.TRIGGER, trigger, self.architecture.hash_buckets),
        )

    def head_of(self, digest: str) -> Head | None:
        """Which head weights are for whose artifact bears this digest; None when they are not of this bundle."""
        return next((shape.head for shape in self.heads if shape.digest == digest), None)

    def start(self, head: Head) -> tuple[HeadShape, NDArray[np.float32]]:
        """Shape and version 0's weights of a head, float32[dimension]."""
        weights = {Head.RANKER: self.weights0, Head.TRIGGER: self.trigger_weights0}
        (shape,) = (shape for shape in self.heads if shape.head is head)
        return shape, weights[head]

    @property
    def threshold0(self) -> float:
        """Trigger threshold of version 0, a logit."""
        return self.card.threshold.logit

    @property
    def catalog_path(self) -> Path:
        """The shipped catalog."""
        return self.path / CATALOG

    def _check_weights(self, content: bytes) -> NDArray[np.float32]:
        try:
            weights = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError, MemoryError, SyntaxError, tokenize.TokenError):
            raise BundleError(f"{self.path / WEIGHTS}: not a NumPy array file. {_ADVICE}") from None
        if weights.dtype != np.float32 or weights.shape != (self.dimension,) or not np.isfinite(weights).all():
            raise BundleError(f"{self.path / WEIGHTS}: not {self.dimension} finite float32 weights. {_ADVICE}")
        weights.flags.writeable = False
        return np.asarray(weights)


def write_manifest(path: Path) -> str:
    """(Re)write the manifest of the bundle directory ``path`` and return its digest (hex).

    Raises:
        BundleError: a file of the bundle is missing.
    """
    files = {name: hashlib.sha256(_read(path, name)).hexdigest() for name in sorted(FILES)}
    content = msgspec.json.format(msgspec.json.encode(Manifest(FORMAT_VERSION, files)), indent=2) + b"\n"
    (path / MANIFEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{path / name}: cannot be read ({error.strerror}). {_ADVICE}") from None


def _decode(path: Path, name: str, content: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BundleError(f"{path / name}: not a valid {kind.__name__.lower()}. {_ADVICE}") from None
