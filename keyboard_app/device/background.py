"""A daemon thread that steps a device and sleeps in between; it stops at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Calls ``step`` again and again, each time after the seconds it returned.

    Args:
        step: does what is due; must not raise.
        ended: called on the thread once it was told to stop.
    """

    def __init__(self, step: Callable[[], float], ended: Callable[[], None]) -> None:
        self._step = step
        self._ended = ended
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    @property
    def running(self) -> bool:
        """Whether a thread was started and not stopped since."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, unless it runs."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._loop, name="device", daemon=True)
            self._thread.start()

    def poke(self) -> None:
        """Step now instead of sleeping on."""
        self._wake.set()

    def pause(self, seconds: float) -> None:
        """Sleep so long, or until it is told to stop."""
        self._stopping.wait(seconds)

    def tell_to_stop(self) -> None:
        """Begin no further step."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait at most so many seconds for the end; returns whether nothing runs any more."""
        thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._wake.wait(self._step())
        self._ended()
