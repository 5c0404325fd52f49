"""A typing session and what stands around it: real bundle, query list and log file; clock and draws that are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_logging import ImpressionLog
from keyboard_app.suggestions import SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from tests.clocks import SettableClock

START = 1_772_409_600.0
QUERIES = """query,category
thai restaurants in oakland,restaurants
italian restaurants in oakland,restaurants
flights from boston to chicago,flights
flights from chicago to boston,flights
weather in paris,weather
"""
ALWAYS, NEVER = -1e9, 1e9
THAI = "any thai restaurants in oakland"
NOTHING = "see you later"


class FixedDraws:
    """A source of the draws a test wants, the last one for ever."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)
        self.taken = 0

    def random(self) -> float:
        self.taken += 1
        return self.draws.pop(0) if len(self.draws) > 1 else self.draws[0]


OFFER, WITHHOLD, THRESHOLD = 0.05, 0.12, 0.9
"""Draws that lead to each branch with the usual shares."""


@dataclass
class Desk:
    """A session and what stands around it."""

    session: TypingSession
    engine: SuggestionEngine
    log: ImpressionLog
    clock: SettableClock
    draws: FixedDraws
    folder: Path

    def keys(self, text: str, interval: float = 0.2) -> None:
        for character in text:
            self.clock.now += interval
            self.session.type(character)

    def line(self, text: str, pause: float = 1.0) -> None:
        self.keys(text)
        self.clock.now += pause
        self.session.send()

    def threshold(self, threshold: float, version: int = 1) -> None:
        self.engine.use_model(version, self.bundle.weights0, threshold)

    @property
    def bundle(self) -> Bundle:
        return self.engine._bundle

    def on_disk(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.folder.iterdir())


Seat = Callable[..., Desk]
"""Makes a desk; its threshold is such that every candidate passes unless a test says otherwise."""
