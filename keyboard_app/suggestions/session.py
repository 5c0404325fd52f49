"""The typing session: everything between a key press and the strip, and between a sent line and the log.

The window and the simulated typists drive the very same object. Nothing that goes wrong in ranking or logging stops
typing: the strip falls back to words, and :attr:`TypingSession.troubles` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import quote_plus

from data_logging import Impression, ImpressionLog, LogError, Outcome
from keyboard_app.suggestions.conversation import Conversations
from keyboard_app.suggestions.engine import Decision, SuggestionEngine
from keyboard_app.suggestions.field import FieldKind, SearchCard, SentLine, Strip, Trouble
from keyboard_app.suggestions.line import Line, is_about
from keyboard_app.suggestions.preferences import Preferences, Refusal
from keyboard_app.text import Composition, Suggested, WordSuggester
from suggestion_model.types import Context

EXAMINED_AFTER_S = 0.3
"""A query counts as seen when it has been visible for this long as the line is sent."""
SEARCH_ADDRESS = "https://duckduckgo.com/?q={query}"
KEY_INTERVAL_S = 0.2
_ROUNDING_S = 1e-6
_ENDS_WORD = frozenset(" .,!?;:…")
"""A correction is put in by one of these."""
_AFTER_WORD = frozenset(".,!?;:…)")
"""These take the place of the space that came with a chosen word."""


class TypingSession:
    """One person typing. Not thread-safe: call it from the thread that takes the keys.

    Parameters
    ----------
    engine
        Ranks; None for a keyboard with words alone.
    log
        Takes one impression a line; None to keep none.
    words
        Suggests words; None for a device nobody looks at.
    clock
        Unix time in seconds.
    field_kind
        What is typed into; can be changed later.
    preferences
        What the person wants and does not want; the ordinary ones, kept in memory alone, when None.
    search_address
        Where a tapped query would be searched, with ``{query}`` where it goes.
    examined_after_s
        Seconds a query must have been visible at sending to count as shown.

    Raises
    ------
    ValueError
        When ``search_address`` is no http(s) address with ``{query}`` in it.
    """

    def __init__(
        self,
        engine: SuggestionEngine | None,
        log: ImpressionLog | None = None,
        words: WordSuggester | None = None,
        clock: Callable[[], float] = time.time,
        field_kind: FieldKind = FieldKind.TEXT,
        *,
        preferences: Preferences | None = None,
        search_address: str = SEARCH_ADDRESS,
        examined_after_s: float = EXAMINED_AFTER_S,
    ) -> None:
        if "{query}" not in search_address or not search_address.startswith(("https://", "http://")):
            raise ValueError("The search address must begin with https:// and hold {query} where the query goes.")
        self._engine = engine
        self._log = log
        self._words = self._suggested_with = words
        self._clock = clock
        self._field_kind = field_kind
        self._preferences = Preferences() if preferences is None else preferences
        self._corrected: tuple[str, str] | None = None
        self._spaced = False
        self._search_address = search_address
        self._examined_after_s = examined_after_s - _ROUNDING_S
        self._composition = Composition()
        self._conversations = Conversations()
        self._conversation = self._conversations.open("")
        self._line = self._new_line()
        self._strip = Strip()
        self._troubles: set[Trouble] = set()
        self.last_line: SentLine | None = None
        """What became of the line sent last."""
        self._show_strip()

    # -- what the person wants -------------------------------------------------------------------------------------

    @property
    def preferences(self) -> Preferences:
        """What the person wants and does not want. After changing it call :meth:`apply_preferences`."""
        return self._preferences

    @property
    def words(self) -> WordSuggester | None:
        """Suggests words; may be replaced at any time, from any thread, by another language's."""
        return self._words

    @words.setter
    def words(self, words: WordSuggester | None) -> None:
        self._words = words

    def catch_up(self) -> bool:
        """Suggest with words that were replaced since the strip was made, in the thread that takes the keys.

        Returns
        -------
        bool
            Whether there is a new strip.
        """
        if self._words is self._suggested_with:
            return False
        self._show_strip()
        return True

    @property
    def engine(self) -> SuggestionEngine | None:
        """Ranks queries; may be set once it is there, from the thread that takes the keys."""
        return self._engine

    @engine.setter
    def engine(self, engine: SuggestionEngine | None) -> None:
        self._engine = engine

    @property
    def log(self) -> ImpressionLog | None:
        """Takes the impressions; may be set once it is there, from the thread that takes the keys."""
        return self._log

    @log.setter
    def log(self, log: ImpressionLog | None) -> None:
        self._log = log

    def apply_preferences(self) -> None:
        """Show what the preferences allow now, and keep them."""
        self._keep_preferences()
        self._refresh()

    def _keep_preferences(self) -> None:
        try:
            self._preferences.save()
        except OSError:
            self._troubles.add(Trouble.PREFERENCES)
        else:
            self._troubles.discard(Trouble.PREFERENCES)

    # -- what is seen ----------------------------------------------------------------------------------------------

    @property
    def strip(self) -> Strip:
        """What the strip shows now."""
        return self._strip

    @property
    def composed(self) -> str:
        """The text being composed."""
        return self._composition.text

    @property
    def cursor(self) -> int:
        """Position of the cursor in :attr:`composed`."""
        return self._composition.cursor

    @property
    def conversation(self) -> str:
        """Key of the open conversation."""
        return self._conversation.key

    @property
    def troubles(self) -> frozenset[Trouble]:
        """What does not work at the moment; empty when all is well."""
        return frozenset(self._troubles)

    @property
    def query_category(self) -> str:
        """Category of the visible query; "" without one."""
        decision = self._line.decision
        return "" if decision is None or self._line.visible() is None else decision.candidate.category

    @property
    def query_visible_s(self) -> float:
        """Seconds for which the query on the strip has been visible; 0 without one.

        After :meth:`enter_line` it is exact up to the time that makes a query examined, and a lower bound above it.
        """
        seen = self._line.visible()
        return 0.0 if seen is None else self._clock() - seen[1]

    @property
    def decision(self) -> Decision | None:
        """The top candidate of the last key press, whether visible or not."""
        return self._line.decision

    @property
    def field_kind(self) -> FieldKind:
        """What is typed into."""
        return self._field_kind

    def set_field_kind(self, kind: FieldKind) -> None:
        """Go on in another kind of field. A line that touches a private one is private as a whole."""
        if kind is self._field_kind:
            return
        self._field_kind = kind
        if self._composition.text or self._line.settled:
            self._line.private = True
            self._line.hide()
        else:
            self._line = self._new_line()
        self._refresh()

    # -- conversations ---------------------------------------------------------------------------------------------

    def open_conversation(self, key: str) -> None:
        """Turn to a conversation; an unsent line of another one is dropped."""
        if key == self._conversation.key:
            return
        self._drop_line()
        self._conversation = self._conversations.open(key)
        self._show_strip()

    def receive(self, text: str) -> None:
        """The other side's line: part of the context from now on, unless the field is private."""
        if self._field_kind is FieldKind.TEXT and text.strip():
            self._conversation.lines.append(text)
            self._refresh()

    # -- keys ------------------------------------------------------------------------------------------------------

    def type(self, char: str) -> None:
        """One key press (or one paste): a space or sign puts in the correction that the strip shows."""
        correction = self._strip.correction
        spaced, self._spaced = self._spaced, False
        if correction is not None and char in _ENDS_WORD:
            self._correct(correction, char)
        elif spaced and char in _AFTER_WORD and self._composition.before_cursor.endswith(" "):
            self._composition.replace_before(1, char + " ")
        elif not (spaced and char == " "):
            self._composition.insert(char)
        else:
            self._composition.keep()
        self._refresh()

    def _correct(self, correction: str, char: str) -> None:
        typed = self._composition.word
        self._composition.replace_before(len(typed), correction + char)
        self._corrected = (typed, correction)

    def end_sentence(self) -> None:
        """Put a full stop in place of the space before the cursor, and a space; backspace right after undoes it."""
        self._composition.replace_before(1, ". ")
        self._refresh()

    def paste(self, text: str) -> None:
        """Put in text that was copied elsewhere, on one line."""
        line = " ".join(text.split())
        if line:
            self.type("".join(character for character in line if character.isprintable()))

    def backspace(self) -> None:
        """Delete backwards, or undo what was just put in; a correction undone is not made again."""
        undone, self._corrected = self._corrected, None
        self._spaced = False
        if undone is not None and self._composition.can_undo and self._words is not None:
            self._dislike(undone[1], undone[0])
        if self._composition.backspace():
            self._refresh()

    def move_cursor(self, cursor: int) -> None:
        """Put the cursor elsewhere."""
        self._corrected, self._spaced = None, False
        self._composition.move_to(cursor)
        self._refresh()

    def choose_word(self, word: str) -> None:
        """Put a suggested word in place of the one at the cursor; what was typed itself is kept and not corrected."""
        typed, correction = self._composition.word, self._strip.correction
        self._corrected = None
        if correction is not None and word == typed:
            self._dislike(correction, typed)
        self._composition.replace_word(word)
        self._spaced = True
        self._refresh()

    def dislike_word(self, word: str) -> None:
        """Never offer a word of the strip again, and forget it where it was learned."""
        if self._words is not None and self._words.memory is not None:
            try:
                self._words.memory.forget(word)
            except LogError:
                self._troubles.add(Trouble.MEMORY)
        self._dislike(word)
        self._refresh()

    def _dislike(self, word: str, typed: str = "") -> None:
        memory = self._words.memory if self._words is not None else None
        if memory is None or self._words is None:
            return
        try:
            memory.dislike(self._words.language, word, typed)
        except LogError:
            self._troubles.add(Trouble.MEMORY)
        else:
            self._troubles.discard(Trouble.MEMORY)

    def clear(self) -> None:
        """Drop the unsent line."""
        self._drop_line()
        self._show_strip()

    def enter_line(self, text: str, intervals: Sequence[float] = (), pause_s: float = 0.0) -> None:
        """Type a whole line at once, its last key just now, with the same result as key by key.

        Only the keys that can matter are ranked: those young enough that their query has not been visible for the
        time that makes it examined.

        Parameters
        ----------
        text
            Added to the (normally empty) line at the cursor.
        intervals
            Seconds between the last keys, the newest last; ``KEY_INTERVAL_S`` for those not given.
        pause_s
            Seconds that will pass before the line is looked at and sent: the longer, the fewer keys matter.
        """
        if not text:
            return
        if self._composition.text or self._line.settled:
            now = self._clock()
            for number, char in enumerate(text, start=1):
                self._composition.insert(char)
                self._rank(self._context(), now - _until_end(len(text) - number, intervals))
        else:
            self._composition.insert(text)
            self._rank_backwards(text, intervals, pause_s)
        self._show_strip()

    def send(self) -> str:
        """Send the line: log its decision, remember it in the conversation, and begin an empty one.

        Returns
        -------
        str
            The text as typed; :attr:`last_line` says what became of its decision.
        """
        text = self._composition.text
        if not text.strip():
            return text
        self._finish(text)
        if not self._line.private:
            self._conversation.lines.append(text)
            self._learn_words(text)
        self._begin_line()
        return text

    # -- the query -------------------------------------------------------------------------------------------------

    def tap_query(self) -> SearchCard | None:
        """Tap the visible query: the text stays as it is, the query stays away for the conversation.

        Returns
        -------
        SearchCard | None
            None when no query is visible.
        """
        decision = self._settle(Outcome.TAPPED)
        if decision is None:
            return None
        candidate = decision.candidate
        return SearchCard(
            query=candidate.query,
            category=candidate.category,
            search_url=self._search_address.replace("{query}", quote_plus(candidate.query)),
        )

    def dismiss_query(self) -> None:
        """Send the visible query away for the conversation; nothing happens when none is visible."""
        self._settle(Outcome.DISMISSED)

    def refuse_query(self, refusal: Refusal) -> None:
        """Send the visible query away for good, or its category, or all queries in this conversation."""
        decision = self._settle(Outcome.DISMISSED)
        if decision is None:
            return
        match refusal:
            case Refusal.QUERY:
                self._preferences.refused_queries.add(decision.candidate.query)
            case Refusal.CATEGORY:
                self._preferences.refused_categories.add(decision.candidate.category)
            case Refusal.CONVERSATION:
                self._preferences.quiet_conversations.add(self._conversation.topic)
        self.apply_preferences()

    def _settle(self, outcome: Outcome) -> Decision | None:
        line = self._line
        decision, seen = line.decision, self._line.visible()
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
        self._line.hide()
        self._show_strip()
        return decision

    # -- ranking ---------------------------------------------------------------------------------------------------

    def _context(self) -> Context:
        return Context(self._composition.before_cursor, tuple(self._conversation.lines))

    def _refresh(self) -> None:
        self._rank(self._context(), self._clock())
        self._show_strip()

    def _rank(self, context: Context, at: float) -> None:
        """Decide about one key press."""
        self._line.rank(self._suggest(context, at), at)

    def _rank_backwards(self, text: str, intervals: Sequence[float], pause_s: float) -> None:
        """Rank the last key, then earlier ones for as long as it matters since when its query has been the top."""
        now = self._clock()
        earlier = tuple(self._conversation.lines)
        self._rank(Context(text, earlier), now)
        line, last = self._line, self._line.decision
        if last is None:
            return
        passing = last.passes
        length, at = len(text), now
        while length > 1 and now - at + pause_s < self._examined_after_s:
            length -= 1
            at = now - _until_end(len(text) - length, intervals)
            before = self._suggest(Context(text[:length], earlier), at)
            if before is None or before.candidate.query != last.candidate.query:
                break
            line.by_offer = (last.candidate.query, at)
            passing = passing and before.passes
            if passing:
                line.by_threshold = (last.candidate.query, at)
        self._troubles -= {Trouble.RANKING}

    def _suggest(self, context: Context, at: float) -> Decision | None:
        line, wants = self._line, self._preferences
        if self._engine is None or line.private or line.settled is not None or not context.composed.strip():
            return None
        if not wants.queries or self._conversation.topic in wants.quiet_conversations:
            return None
        try:
            if line.branch is None:
                line.branch = self._engine.draw()
            decision = self._engine.suggest(
                context,
                away=self._conversation.away | wants.refused_queries
                if wants.refused_queries
                else self._conversation.away,
                away_categories=wants.refused_categories,
                at=at,
            )
        except Exception:  # whatever it is, the person goes on typing; its text may quote theirs, so it is not kept
            self._troubles.add(Trouble.RANKING)
            return None
        self._troubles.discard(Trouble.RANKING)
        return decision

    def _show_strip(self) -> None:
        seen = self._line.visible()
        self._suggested_with = self._words
        words = self._suggest_words()
        self._strip = Strip(words.words, words.correction, None if seen is None else seen[0], self._strip.sequence + 1)

    def _suggest_words(self) -> Suggested:
        if self._words is None or self._field_kind is FieldKind.PASSWORD:
            return Suggested()
        word, before = self._composition.word, self._composition.before_cursor
        try:
            found = self._words.suggest(word, before[: len(before) - len(word)])
        except Exception:  # as in _suggest
            self._troubles.add(Trouble.WORDS)
            return Suggested()
        self._troubles.discard(Trouble.WORDS)
        # A name inside a sentence is nobody's mistake, and half a word in the middle of one neither.
        named = word[:1].isupper() and bool(before[: len(before) - len(word)].strip(" \"'“„«(¿¡"))
        if not self._preferences.correct or named or self._composition.in_word:
            return Suggested(found.words)
        return found

    # -- the end of a line -----------------------------------------------------------------------------------------

    def _new_line(self) -> Line:
        return Line(private=self._field_kind is not FieldKind.TEXT)

    def _learn_words(self, text: str) -> None:
        words = self._words
        if words is None or words.memory is None:
            return
        try:
            words.memory.learn(text, words.language)
        except LogError:  # a full disk must not stop the sentence
            self._troubles.add(Trouble.MEMORY)
        else:
            self._troubles.discard(Trouble.MEMORY)

    def _begin_line(self) -> None:
        self._corrected, self._spaced = None, False
        self._composition.clear()
        self._line = self._new_line()
        self._show_strip()

    def _drop_line(self) -> None:
        """Leave the line unsent. A tap or a dismissal in it has happened all the same."""
        if self._line.settled is not None:
            self._finish(self._composition.text)
        self._composition.clear()
        self._line = self._new_line()

    def _finish(self, text: str) -> None:
        line = self._line
        if line.private:
            self.last_line = SentLine("", None, None, None)
            return
        impression, outcome = line.settled or self._untouched()
        if outcome is Outcome.IGNORED and impression is not None:
            self._conversation.ignore(impression.candidate)
        row = self._record(impression, outcome)
        self.last_line = SentLine(text, impression, outcome, row)

    def _untouched(self) -> tuple[Impression, Outcome] | tuple[None, None]:
        """The impression of a line whose query was neither tapped nor dismissed."""
        line, now = self._line, self._clock()
        if line.decision is None:
            return None, None

        def examined(seen: tuple[str, float] | None) -> bool:
            return seen is not None and now - seen[1] >= self._examined_after_s

        shown = examined(self._line.visible())
        impression = self._impression(
            line.decision, shown=shown, by_threshold=examined(line.by_threshold), by_offer=examined(line.by_offer)
        )
        return impression, Outcome.IGNORED if shown else Outcome.WITHHELD

    def _impression(self, decision: Decision, *, shown: bool, by_threshold: bool, by_offer: bool) -> Impression:
        assert self._engine is not None  # there is no decision without it
        return self._line.impression(
            decision,
            self._engine.exploration,
            self._conversation.key,
            self._clock(),
            shown=shown,
            by_threshold=by_threshold,
            by_offer=by_offer,
        )

    def _record(self, impression: Impression | None, outcome: Outcome | None) -> int | None:
        row = None
        try:
            if self._log is not None and self._engine is not None:
                model = self._engine.model
                row = self._log.finish_line(
                    arm=model.arm if impression is None else impression.arm,
                    model_version=model.version if impression is None else impression.model_version,
                    impression=impression,
                    outcome=outcome or Outcome.PENDING,
                )
            if impression is not None and outcome is not None and self._engine is not None:
                self._engine.learn(impression, outcome)
        except Exception:  # a full disk must not stop the sentence; messages of this layer hold no text
            self._troubles.add(Trouble.LOG)
            return None
        self._troubles.discard(Trouble.LOG)
        return row


def _until_end(keys: int, intervals: Sequence[float]) -> float:
    """Seconds from a key that has ``keys`` keys after it to the last one."""
    given = min(keys, len(intervals))
    return sum(intervals[len(intervals) - given :]) + (keys - given) * KEY_INTERVAL_S
