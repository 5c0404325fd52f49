"""A bounded share of the processor for training: work a little, rest a little, and look up in between."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Rests between calls so that work takes at most ``share`` of the time.

    Args:
        share: in (0, 1]; 1 never rests.
        clock: seconds of processor time or of wall time; what passes between two rests counts as work.
        pause: sleeps so many seconds; may return early.
    """

    SHORTEST_WORK_S = 0.01
    """Rests are taken after at least so much work: waking costs more than it saves otherwise."""

    def __init__(
        self,
        share: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"A share of {share} does not lie in (0, 1].")
        self._share = share
        self._clock = clock
        self._pause = pause
        self._since: float | None = None

    def begin(self) -> None:
        """Work begins now."""
        self._since = self._clock()

    def rest(self) -> None:
        """Rest for what was worked since the last rest, if it is time."""
        if self._since is None:
            self._since = self._clock()
        worked = self._clock() - self._since
        if self._share < 1.0 and worked >= self.SHORTEST_WORK_S:
            self._pause(worked * (1.0 - self._share) / self._share)
            self._since = self._clock()
