"""What this device has learned about its owner's taste, on top of one shared model, for this device alone.

Nothing of it is ever sent. It is used only while it fits the shared model it was inferred with, and only when that
foresaw the owner's later offers better than the shared model did. Kept in one file, replaced as a whole.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from keyboard_app.device.files import set_aside, write_atomically
from keyboard_app.device.model_store import StoredModel


class PersonalModel(msgspec.Struct, frozen=True):
    """The outcome of one look at the log."""

    base_version: int
    base_digest: str
    """The shared model it belongs to."""
    examples: int
    newest: int
    """Row of the log's newest offer it knew."""
    loss_shared: float
    loss_personal: float
    """Mean cross-entropy of the offers, each foreseen from those before it."""
    evidence: float
    """Log Bayes factor of any taste against none, nats."""
    trained_at: float
    """Unix time in seconds."""
    tastes: dict[str, float] = {}
    """By how much the owner taps offers of a category more often than foreseen; empty when the shared model did at
    least as well and stays in use."""

    @property
    def kept(self) -> bool:
        """Whether it ranks."""
        return bool(self.tastes)

    def grew_from(self, model: StoredModel) -> bool:
        """Whether ``model`` is the shared model it belongs to."""
        return (self.base_version, self.base_digest) == (model.version, model.digest)


class PersonalModelFile:
    """The newest personal model on disk.

    Args:
        path: the file; a damaged one is set aside, the shared model is used instead.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        if not all(math.isfinite(factor) and 0.0 <= factor <= 4.0 for factor in model.tastes.values()):
            set_aside(self._path)
            return None
        return model
