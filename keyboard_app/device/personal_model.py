"""A model trained further for one owner: from the shared model, on this device's own log, for this device alone.

Nothing of it is ever sent. It is used only while it fits the shared model it grew from, and only when it does not do
worse than that model on the newest offers, which it was not trained on. Kept in one file, replaced as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from keyboard_app.device.files import set_aside, write_atomically
from keyboard_app.device.model_store import StoredModel


@dataclass(frozen=True, slots=True)
class PersonalSetting:
    """How a device trains for its owner."""

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 0.1
    proximal: float = 0.1
    """Keeps the personal model near the shared one (arXiv 1812.06127)."""
    smallest_examples: int = 8
    held_out: float = 0.2
    """Share of the newest offers that judge the result instead of being trained on."""


class PersonalModel(msgspec.Struct, frozen=True):
    """The outcome of one local training."""

    base_version: int
    base_digest: str
    """The shared model it grew from."""
    examples: int
    newest: int
    """Row of the log's newest offer it knew."""
    loss_shared: float
    loss_personal: float
    """Mean cross-entropy on the offers held out."""
    trained_at: float
    """Unix time in seconds."""
    weights: bytes = b""
    """float32, little-endian; empty when the shared model did at least as well and stays in use."""

    @property
    def kept(self) -> bool:
        """Whether it ranks."""
        return bool(self.weights)

    def array(self) -> NDArray[np.float32]:
        """Weights, float32[d]."""
        return np.frombuffer(self.weights, "<f4").astype(np.float32)

    def grew_from(self, model: StoredModel) -> bool:
        """Whether ``model`` is the shared model it was trained from."""
        return (self.base_version, self.base_digest) == (model.version, model.digest)


class PersonalModelFile:
    """The newest personal model on disk.

    Args:
        path: the file; a damaged one is set aside, the shared model is used instead.
        dimension: number of weights d of the bundle.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._dimension = dimension
        self._current = self._read()

    @property
    def current(self) -> PersonalModel | None:
        """The newest one, None when there is none."""
        return self._current

    def put(self, model: PersonalModel) -> None:
        """Use ``model`` from now on.

        Raises:
            OSError: it cannot be written.
        """
        self._current = model
        write_atomically(self._path, msgspec.msgpack.encode(model))

    def erase(self) -> None:
        """Go back to the shared model and delete the file.

        Raises:
            OSError: the file cannot be deleted.
        """
        self._current = None
        self._path.unlink(missing_ok=True)

    def _read(self) -> PersonalModel | None:
        try:
            model = msgspec.msgpack.decode(self._path.read_bytes(), type=PersonalModel)
        except OSError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            set_aside(self._path)
            return None
        if len(model.weights) not in (0, 4 * self._dimension) or not np.isfinite(model.array()).all():
            set_aside(self._path)
            return None
        return model
