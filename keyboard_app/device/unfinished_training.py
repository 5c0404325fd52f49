"""What a training had reached when it was stopped, so that the next one on the same material goes on there.

It holds numbers alone: weights, a count of steps, the seed of an order. It never leaves the device, and is deleted as
soon as the training is finished or its material has changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from keyboard_app.device.files import write_atomically

if TYPE_CHECKING:
    from suggestion_model.training import LocalSetting, Progress


class Material(msgspec.Struct, frozen=True):
    """What a training works on: equal material makes equal steps."""

    base_version: int
    base_digest: str
    """The model it starts from."""
    newest: int
    """Row of the log's newest offer."""
    examples: int
    epochs: int
    batch_size: int
    learning_rate: float
    proximal: float

    @classmethod
    def of(cls, base_version: int, base_digest: str, newest: int, examples: int, setting: LocalSetting) -> Material:
        """Of a model, the log's newest offer, a number of examples and a setting."""
        return cls(
            base_version,
            base_digest,
            newest,
            examples,
            setting.epochs,
            setting.batch_size,
            setting.learning_rate,
            setting.proximal,
        )


class _Kept(msgspec.Struct, frozen=True):
    material: Material
    seed: int
    steps: int
    weights: bytes


class UnfinishedTraining:
    """One unfinished training on disk, or in memory where there is no file.

    Args:
        path: the file; damage means starting over.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept = self._read()

    def find(self, material: Material) -> Progress | None:
        """Where a training on this very material stopped."""
        kept = self._kept
        if kept is None or kept.material != material:
            return None
        from suggestion_model.training import Progress

        return Progress(kept.seed, kept.steps, np.frombuffer(kept.weights, "<f4").astype(np.float32))

    def put(self, material: Material, progress: Progress) -> None:
        """Remember it in place of what was there. A file that cannot be written costs the next start a little time."""
        self._kept = _Kept(material, progress.seed, progress.steps, progress.weights.astype("<f4").tobytes())
        if self._path is not None:
            try:
                write_atomically(self._path, msgspec.msgpack.encode(self._kept))
            except OSError:
                self._path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing is unfinished.

        Raises:
            OSError: the file cannot be deleted.
        """
        self._kept = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> _Kept | None:
        if self._path is None:
            return None
        try:
            kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        finite = len(kept.weights) % 4 == 0 and np.isfinite(np.frombuffer(kept.weights, "<f4")).all()
        return kept if finite else None
