"""Time that stands still until a test moves it."""

from __future__ import annotations


class SettableClock:
    """Seconds that move when a test says so: Unix time, or monotonic, as whoever asks takes them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
