"""Requests that wait for a round to move on, so that devices need not ask again and again.

A device that sent its message asks to wait, and gets the phase's result as the answer to that very request. A waiting
request holds a server thread, so only so many may; the others are told when to ask again, as everybody is where this
process has no ticker. What wakes a request is the ticker of its own process, which reads the running round on every
tick: rounds may be moved by any process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from coordinator.rounds.states import ORDER, RoundState

MOST_WAITING = 128
LONGEST_WAIT_S = 30.0
"""Shorter than the patience of proxies and of devices."""
_LOOK_UP_S = 1.0


class RoundWatch:
    """Where the running rounds stand, and who waits for one to move.

    Parameters
    ----------
    most_waiting
        Requests that may wait at a time.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._moved = threading.Condition()
        self._waiting: set[bytes] = set()
        self._ticking = False
        self._seen: dict[str, int] = {}

    def begin(self) -> None:
        """From now on somebody calls :meth:`saw`, so waiting makes sense."""
        self._ticking = True

    def end(self) -> None:
        """Nobody waits any more."""
        with self._moved:
            self._ticking = False
            self._moved.notify_all()

    def saw(self, running: Mapping[str, RoundState]) -> None:
        """The state of every running round by session."""
        seen = {session: ORDER.index(state) for session, state in running.items()}
        if seen != self._seen:
            with self._moved:
                self._seen = seen
                self._moved.notify_all()

    @contextmanager
    def place(self, device: bytes, seconds: float) -> Iterator[Callable[[str, RoundState], bool]]:
        """A place among those who wait, for so many seconds at most; a device has one at a time.

        Yields a call that sleeps until the round ``session`` has left ``state``; False when there is no place, no
        ticker, or no time left, and the device has to ask again.
        """
        until = time.monotonic() + min(seconds, LONGEST_WAIT_S)
        with self._moved:
            room = len(self._waiting) < self._most_waiting and device not in self._waiting
            admitted = self._ticking and seconds > 0 and room
            if admitted:
                self._waiting.add(device)
        try:
            yield lambda session, state: admitted and self._sleep(session, ORDER.index(state), until)
        finally:
            if admitted:
                with self._moved:
                    self._waiting.discard(device)

    def _sleep(self, session: str, state: int, until: float) -> bool:
        with self._moved:
            while self._ticking and (left := until - time.monotonic()) > 0:
                if self._seen.get(session, len(ORDER)) > state:  # whatever does not run any more has left every state
                    return True
                self._moved.wait(min(left, _LOOK_UP_S))
        return False
