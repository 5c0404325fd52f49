"""A simulated owner for one headless device: types a person's replay lines at a multiple of their own pace.

How far the replay was typed is kept in the device's home, so that a restarted device goes on where it stopped instead
of typing (and learning from) the same lines twice. Nothing of the text is kept there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keyboard_app.device.files import write_atomically

if TYPE_CHECKING:
    from keyboard_app.simulation.person import SimulatedPerson
    from keyboard_app.simulation.replay import ReplayLine

LINES_A_SLICE = 10
"""Lines typed before the device gets its turn again."""


class _Progress(msgspec.Struct, frozen=True):
    user: str
    typed: int


class ReplayedOwner:
    """Types when it is time.

    Args:
        person: drives the typing session.
        user: the replay's name of this person, to recognise the progress file's.
        lines: what to type, by time.
        progress: file that remembers how far it got.
        speed: replayed seconds per second; 0 types everything at once.
        monotonic: seconds.
    """

    def __init__(
        self,
        person: SimulatedPerson,
        user: str,
        lines: Sequence[ReplayLine],
        progress: Path,
        speed: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._person = person
        self._user = user
        self._lines = lines
        self._progress = progress
        self._speed = speed
        self._monotonic = monotonic
        self._typed = self._read_progress()
        self._began = monotonic()
        self._first = lines[self._typed].time if self._typed < len(lines) else 0.0

    @property
    def typed(self) -> int:
        """Lines typed so far, earlier starts included."""
        return self._typed

    @property
    def lines(self) -> int:
        """Lines there are."""
        return len(self._lines)

    def step(self) -> float | None:
        """Type what is due, a slice at most.

        Returns:
            Seconds until the next line is due; None after the last one.
        """
        before = self._typed
        while self._typed < len(self._lines) and self._typed - before < LINES_A_SLICE and self._wait() <= 0.0:
            self._person.type_line(self._lines[self._typed])
            self._typed += 1
        if self._typed > before:
            write_atomically(self._progress, msgspec.json.encode(_Progress(self._user, self._typed)))
        return None if self._typed >= len(self._lines) else max(self._wait(), 0.0)

    def _wait(self) -> float:
        if self._speed <= 0.0:
            return 0.0
        due = self._began + (self._lines[self._typed].time - self._first) / self._speed
        return due - self._monotonic()

    def _read_progress(self) -> int:
        try:
            progress = msgspec.json.decode(self._progress.read_bytes(), type=_Progress)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return 0
        return min(max(progress.typed, 0), len(self._lines)) if progress.user == self._user else 0
