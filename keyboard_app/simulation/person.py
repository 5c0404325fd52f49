"""A person who is not there: types their replay lines on a real typing session and looks at the strip like anyone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.typist import Typist
from keyboard_app.suggestions import TypingSession

SHORTEST_INTERVAL_S = 0.02
"""Nobody types faster."""

TypingMode = Literal["keys", "line"]


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """What happened on one line."""

    examined: bool
    tapped: bool
    candidate: str | None
    """The best candidate, offered or not; None where there was none."""
    score: float
    """Its logit; 0 without a candidate."""
    tap_probability: float
    """Probability that its author would tap it, had they examined it; 0 without a candidate."""


@dataclass(slots=True)
class Tally:
    """Sums over lines."""

    lines: int = 0
    offers: int = 0
    """Queries examined."""
    clicks: int = 0
    """Drawn taps."""
    expected_clicks: float = 0.0

    def add(self, outcome: LineOutcome) -> None:
        """Count one line."""
        self.lines += 1
        self.offers += outcome.examined
        self.clicks += outcome.tapped
        self.expected_clicks += outcome.tap_probability * outcome.examined

    def merge(self, other: Tally) -> None:
        """Add another tally."""
        self.lines += other.lines
        self.offers += other.offers
        self.clicks += other.clicks
        self.expected_clicks += other.expected_clicks


class SimulatedPerson:
    """Types lines on a session, at the times they were typed.

    Arguments:
        session: the same object the window drives.
        typist: decides what is examined and tapped.
        clock: the clock that session, log and engine were given; moved along the lines' timestamps.
        mode: ``keys`` types key by key, ``line`` enters a line at once, with the same result and much faster.
    """

    def __init__(
        self, session: TypingSession, typist: Typist, clock: SimulatedClock, mode: TypingMode = "keys"
    ) -> None:
        self._session = session
        self._typist = typist
        self._clock = clock
        self._mode = mode

    def type_lines(self, lines: Iterable[ReplayLine]) -> Tally:
        """Type several lines in order."""
        tally = Tally()
        for line in lines:
            tally.add(self.type_line(line))
        return tally

    def type_line(self, line: ReplayLine) -> LineOutcome:
        """Type one line at believable times, look at the strip once, perhaps tap, and send."""
        session, typist, clock = self._session, self._typist, self._clock
        text = " ".join(line.text.split())
        pause_s = typist.send_pause_s(line)
        by_key = self._mode == "keys"
        # Entering a line at once, only keys younger than the dwell can matter.
        young = 0 if pause_s >= typist.setting.dwell_s else 1 + int(typist.setting.dwell_s / SHORTEST_INTERVAL_S)
        timed = len(text) if by_key else min(len(text), young)
        gaps = [typist.key_interval_s(line, len(text) - timed + key) for key in range(timed)]
        clock.jump_to(line.time - sum(gaps) - pause_s)
        session.open_conversation(line.conversation)
        if line.reply_to:
            session.receive(line.reply_to)
        if by_key:
            for character, gap in zip(text, gaps, strict=True):
                clock.advance(gap)
                session.type(character)
        else:
            clock.advance(sum(gaps))
            session.enter_line(text, gaps, pause_s)
        clock.advance(pause_s)
        outcome = self._look(line)
        session.send()
        return outcome

    def _look(self, line: ReplayLine) -> LineOutcome:
        session, typist = self._session, self._typist
        best = session.decision
        if best is None:
            return LineOutcome(False, False, None, 0.0, 0.0)
        query = best.candidate.query
        examined = session.strip.query is not None and typist.examines(line, session.query_visible_s)
        tapped = examined and typist.taps(query, line)
        if tapped:
            session.tap_query()
        return LineOutcome(examined, tapped, query, best.score, typist.tap_probability(query, line))
