"""Queries offered on the line being composed: decided at every key, settled by a tap, and the impression they leave.

Nothing that goes wrong in ranking stops typing: no query is offered, and :attr:`QueryOffers.ranking_fails` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data_logging import Impression, Outcome
from keyboard_app.suggestions.conversation import Conversation
from keyboard_app.suggestions.engine import Decision, SuggestionEngine
from keyboard_app.suggestions.line import Line, is_about
from keyboard_app.suggestions.preferences import Preferences
from suggestion_model.types import Match

EXAMINED_AFTER_S = 0.3
"""A query counts as seen when it has been visible for this long as the line is sent."""
KEY_INTERVAL_S = 0.2
_ROUNDING_S = 1e-6


class QueryOffers:
    """What is offered on one line after the other.

    Parameters
    ----------
    engine
        Ranks; None to offer nothing. May be set later.
    preferences
        What the person does not want offered.
    clock
        Unix time in seconds.
    conversation
        The one the first line belongs to.
    private
        Whether the first line is written in a field that must not be logged.
    examined_after_s
        Seconds a query must have been visible at sending to count as shown.
    """

    def __init__(
        self,
        engine: SuggestionEngine | None,
        preferences: Preferences,
        clock: Callable[[], float],
        conversation: Conversation,
        *,
        private: bool,
        examined_after_s: float = EXAMINED_AFTER_S,
    ) -> None:
        self.engine = engine
        self.ranking_fails = False
        """Whether the last key could not be ranked."""
        self._preferences = preferences
        self._clock = clock
        self._examined_after_s = examined_after_s - _ROUNDING_S
        self.begin(conversation, private=private)

    def begin(self, conversation: Conversation, *, private: bool) -> None:
        """Begin a line: what was offered on the last one is forgotten."""
        self._conversation = conversation
        self._line = Line(private=private)

    # -- what is offered now ---------------------------------------------------------------------------------------

    @property
    def decision(self) -> Decision | None:
        """The top candidate of the last key press, whether visible or not."""
        return self._line.decision

    @property
    def query(self) -> str | None:
        """The visible query."""
        seen = self._line.visible()
        return None if seen is None else seen[0]

    @property
    def category(self) -> str:
        """Category of the visible query; "" without one."""
        decision = self._line.decision
        return "" if decision is None or self._line.visible() is None else decision.candidate.category

    @property
    def visible_s(self) -> float:
        """Seconds for which the visible query has been so; 0 without one."""
        seen = self._line.visible()
        return 0.0 if seen is None else self._clock() - seen[1]

    @property
    def private(self) -> bool:
        """Whether some of the line was typed in a field that must not be logged."""
        return self._line.private

    @property
    def settled(self) -> bool:
        """Whether the line's query was tapped or dismissed: it shows no other."""
        return self._line.settled is not None

    def make_private(self) -> None:
        """Offer nothing more on this line, and log nothing of it."""
        self._line.private = True
        self._line.hide()

    # -- every key -------------------------------------------------------------------------------------------------

    def rank(self, composed: str, at: float | None = None) -> None:
        """Decide about one key press at the Unix time ``at`` (now when None), after which the line is ``composed``."""
        at = self._clock() if at is None else at
        self._line.rank(self._suggest(composed, at), at)

    def rank_keys(self, before: str, text: str, intervals: Sequence[float]) -> None:
        """Decide about every key of ``text``, typed after ``before``, the last one just now, ``intervals`` apart."""
        now = self._clock()
        for number in range(1, len(text) + 1):
            self.rank(before + text[:number], now - _until_end(len(text) - number, intervals))

    def rank_line(self, text: str, intervals: Sequence[float], pause_s: float) -> None:
        """Decide as :meth:`rank_keys` would about a line that was empty, ranking only the keys that can matter.

        Rank the last key, then earlier ones for as long as it matters since when its query has been the top: until
        that is the time which makes it examined when the line is sent ``pause_s`` from now.
        """
        now = self._clock()
        self.rank(text, now)
        line, last = self._line, self._line.decision
        if last is None:
            return
        passing = last.passes
        length, at = len(text), now
        while length > 1 and now - at + pause_s < self._examined_after_s:
            length -= 1
            at = now - _until_end(len(text) - length, intervals)
            before = self._suggest(text[:length], at)
            if before is None or before.candidate.query != last.candidate.query:
                break
            line.by_offer = (last.candidate.query, at)
            passing = passing and before.passes
            if passing:
                line.by_threshold = (last.candidate.query, at)
        self.ranking_fails = False

    def _suggest(self, composed: str, at: float) -> Decision | None:
        line, wants = self._line, self._preferences
        if self.engine is None or line.private or self.settled or not composed.strip():
            return None
        if not wants.queries or self._conversation.topic in wants.quiet_conversations:
            return None
        away = self._conversation.away
        try:
            if line.branch is None:
                line.branch = self.engine.draw()
            decision = self.engine.suggest(
                self._conversation.context(composed),
                away=away | wants.refused_queries if wants.refused_queries else away,
                away_categories=wants.refused_categories,
                at=at,
            )
        except Exception:  # whatever it is, the person goes on typing; its text may quote theirs, so it is not kept
            self.ranking_fails = True
            return None
        self.ranking_fails = False
        return decision

    # -- what became of it -----------------------------------------------------------------------------------------

    def settle(self, outcome: Outcome) -> Decision | None:
        """The visible query was tapped or dismissed: it stays away for the conversation.

        Returns
        -------
        Decision | None
            What was settled; None when no query is visible.
        """
        line = self._line
        decision, seen = line.decision, line.visible()
        if decision is None or seen is None:
            return None
        # It was seen, however briefly: under each branch it is shown if it was visible at all.
        line.settled = (
            self._impression(
                decision,
                shown=True,
                by_threshold=is_about(line.by_threshold, decision),
                by_offer=is_about(line.by_offer, decision),
            ),
            outcome,
        )
        self._conversation.send_away(decision.candidate.query)
        line.hide()
        return decision

    def finish(self) -> tuple[Impression, Outcome] | tuple[None, None]:
        """The line ends: what was decided about it and what came of that, which the conversation remembers.

        Returns
        -------
        tuple[Impression, Outcome] | tuple[None, None]
            Nones when there was no candidate.
        """
        decided = self._line.settled or self._untouched()
        impression, outcome = decided
        if impression is not None:
            tapped = outcome is Outcome.TAPPED
            self._conversation.remember(Match(impression.candidate, impression.category, tapped))
            if outcome is Outcome.IGNORED:
                self._conversation.ignore(impression.candidate)
        return decided

    def _untouched(self) -> tuple[Impression, Outcome] | tuple[None, None]:
        """The impression of a line whose query was neither tapped nor dismissed."""
        line, now = self._line, self._clock()
        if line.decision is None:
            return None, None

        def examined(seen: tuple[str, float] | None) -> bool:
            return seen is not None and now - seen[1] >= self._examined_after_s

        shown = examined(line.visible())
        impression = self._impression(
            line.decision, shown=shown, by_threshold=examined(line.by_threshold), by_offer=examined(line.by_offer)
        )
        return impression, Outcome.IGNORED if shown else Outcome.WITHHELD

    def _impression(self, decision: Decision, *, shown: bool, by_threshold: bool, by_offer: bool) -> Impression:
        assert self.engine is not None  # there is no decision without it
        return self._line.impression(
            decision,
            self.engine.exploration,
            self._conversation.key,
            self._clock(),
            shown=shown,
            by_threshold=by_threshold,
            by_offer=by_offer,
        )


def _until_end(keys: int, intervals: Sequence[float]) -> float:
    """Seconds from a key that has ``keys`` keys after it to the last one."""
    given = min(keys, len(intervals))
    return sum(intervals[len(intervals) - given :]) + (keys - given) * KEY_INTERVAL_S
