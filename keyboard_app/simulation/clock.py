"""A clock that jumps: fourteen days of typing pass in a minute."""

from __future__ import annotations


class SimulatedClock:
    """Unix time in seconds, moved by hand, never backwards; session, log and engine share one."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """The simulated Unix time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` >= 0 pass."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += seconds

    def jump_to(self, time: float) -> None:
        """Go to ``time``, or stay where it is already later."""
        self._now = max(self._now, time)
