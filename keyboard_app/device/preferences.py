"""What the owner of this device decided: whether it learns, whether it sends, whether its model follows its owner.

Kept in one small file that is replaced as a whole. A damaged file is set aside, and the device then behaves as if
everything had been declined: a lost "no" must not turn into a "yes".
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import msgspec

from keyboard_app.device.files import set_aside, write_atomically


class Preferences(msgspec.Struct, frozen=True):
    """The owner's decisions."""

    learning: bool = True
    """False pauses learning: nothing is recorded, nothing is trained, no round is joined."""
    sending: bool = True
    """False keeps every update on the device; it goes on learning for itself."""
    personal: bool = True
    """True ranks with what this device learned about its owner alone; implied where nothing is sent."""

    @property
    def personalises(self) -> bool:
        """Whether the device is to learn about its owner alone."""
        return self.learning and (self.personal or not self.sending)


DECLINED = Preferences(learning=False, sending=False, personal=False)


class PreferenceFile:
    """Preferences on disk; safe to read and change from any thread.

    Args:
        path: the file; absent means the defaults.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.damaged = False
        """Whether a damaged file was set aside at the start, and everything is declined since."""
        self._current = self._read()

    @property
    def current(self) -> Preferences:
        """The decisions as they stand."""
        return self._current

    def change(
        self, *, learning: bool | None = None, sending: bool | None = None, personal: bool | None = None
    ) -> Preferences:
        """Change the given decisions; None leaves one as it is.

        The new decision holds from now on even when it cannot be written.

        Raises:
            OSError: the file cannot be written: the decision holds until the app ends.
        """
        with self._lock:
            before = self._current
            self._current = Preferences(
                before.learning if learning is None else learning,
                before.sending if sending is None else sending,
                before.personal if personal is None else personal,
            )
            write_atomically(self._path, msgspec.json.encode(self._current))
            return self._current

    def _read(self) -> Preferences:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Preferences)
        except FileNotFoundError:
            return Preferences()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.damaged = True
            with contextlib.suppress(OSError):
                set_aside(self._path)
            return DECLINED
