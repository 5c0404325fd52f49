"""The typing session: the face of the keyboard, between a key press and the strip, between a sent line and the log.

The window and the simulated typists drive the very same object. Nothing that goes wrong in ranking or logging stops
typing: the strip falls back to words, and :attr:`TypingSession.troubles` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from data_logging import Impression, ImpressionLog, Outcome
from keyboard_app.suggestions.conversation import Conversations
from keyboard_app.suggestions.engine import Decision, SuggestionEngine
from keyboard_app.suggestions.offers import EXAMINED_AFTER_S, QueryOffers
from keyboard_app.suggestions.preferences import Preferences, Refusal
from keyboard_app.suggestions.search import SEARCH_ADDRESS, SearchAddress, SearchCard
from keyboard_app.suggestions.values import FieldKind, SentLine, Strip, Trouble
from keyboard_app.text import LineEditor, WordSuggester


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
        self._log = log
        self._field_kind = field_kind
        self._preferences = Preferences() if preferences is None else preferences
        self._search_address = SearchAddress(search_address)
        self._conversations = Conversations()
        self._conversation = self._conversations.open("")
        self._editor = LineEditor(words)
        self._offers = QueryOffers(
            engine,
            self._preferences,
            clock,
            self._conversation,
            private=self._in_private_field,
            examined_after_s=examined_after_s,
        )
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
        return self._editor.words

    @words.setter
    def words(self, words: WordSuggester | None) -> None:
        self._editor.words = words

    def catch_up(self) -> bool:
        """Suggest with words that were replaced since the strip was made, in the thread that takes the keys.

        Returns
        -------
        bool
            Whether there is a new strip.
        """
        if not self._editor.words_replaced:
            return False
        self._show_strip()
        return True

    @property
    def engine(self) -> SuggestionEngine | None:
        """Ranks queries; may be set once it is there, from the thread that takes the keys."""
        return self._offers.engine

    @engine.setter
    def engine(self, engine: SuggestionEngine | None) -> None:
        self._offers.engine = engine

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
        return self._editor.text

    @property
    def cursor(self) -> int:
        """Position of the cursor in :attr:`composed`."""
        return self._editor.cursor

    @property
    def conversation(self) -> str:
        """Key of the open conversation."""
        return self._conversation.key

    @property
    def troubles(self) -> frozenset[Trouble]:
        """What does not work at the moment; empty when all is well."""
        failing = {
            Trouble.RANKING: self._offers.ranking_fails,
            Trouble.WORDS: self._editor.words_fail,
            Trouble.MEMORY: self._editor.memory_fails,
        }
        return frozenset(self._troubles | {trouble for trouble, fails in failing.items() if fails})

    @property
    def query_category(self) -> str:
        """Category of the visible query; "" without one."""
        return self._offers.category

    @property
    def query_visible_s(self) -> float:
        """Seconds for which the query on the strip has been visible; 0 without one.

        After :meth:`enter_line` it is exact up to the time that makes a query examined, and a lower bound above it.
        """
        return self._offers.visible_s

    @property
    def decision(self) -> Decision | None:
        """The top candidate of the last key press, whether visible or not."""
        return self._offers.decision

    @property
    def field_kind(self) -> FieldKind:
        """What is typed into."""
        return self._field_kind

    def set_field_kind(self, kind: FieldKind) -> None:
        """Go on in another kind of field. A line that touches a private one is private as a whole."""
        if kind is self._field_kind:
            return
        self._field_kind = kind
        if self._editor.text or self._offers.settled:
            self._offers.make_private()
        else:
            self._begin_offers()
        self._refresh()

    @property
    def _in_private_field(self) -> bool:
        return self._field_kind is not FieldKind.TEXT

    # -- conversations ---------------------------------------------------------------------------------------------

    def open_conversation(self, key: str) -> None:
        """Turn to a conversation; an unsent line of another one is dropped."""
        if key == self._conversation.key:
            return
        self._leave_line()
        self._conversation = self._conversations.open(key)
        self._begin_line()

    def receive(self, text: str) -> None:
        """The other side's line: part of the context from now on, unless the field is private."""
        if text.strip() and not self._in_private_field:
            self._conversation.lines.append(text)
            self._refresh()

    # -- keys ------------------------------------------------------------------------------------------------------

    def type(self, char: str) -> None:
        """One key press (or one paste): a space or sign puts in the correction that the strip shows."""
        self._editor.type(char)
        self._refresh()

    def end_sentence(self) -> None:
        """Put a full stop in place of the space before the cursor, and a space; backspace right after undoes it."""
        self._editor.end_sentence()
        self._refresh()

    def paste(self, text: str) -> None:
        """Put in text that was copied elsewhere, on one line."""
        line = " ".join(text.split())
        if line:
            self.type("".join(character for character in line if character.isprintable()))

    def backspace(self) -> None:
        """Delete backwards, or undo what was just put in; a correction undone is not made again."""
        if self._editor.backspace():
            self._refresh()

    def move_cursor(self, cursor: int) -> None:
        """Put the cursor elsewhere."""
        self._editor.move_cursor(cursor)
        self._refresh()

    def choose_word(self, word: str) -> None:
        """Put a suggested word in place of the one at the cursor; what was typed itself is kept and not corrected."""
        self._editor.choose_word(word)
        self._refresh()

    def dislike_word(self, word: str) -> None:
        """Never offer a word of the strip again, and forget it where it was learned."""
        self._editor.dislike_word(word)
        self._refresh()

    def clear(self) -> None:
        """Drop the unsent line."""
        self._leave_line()
        self._begin_line()

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
        before, goes_on = self._editor.before_cursor, bool(self._editor.text) or self._offers.settled
        self._editor.insert(text)
        if goes_on:
            self._offers.rank_keys(before, text, intervals)
        else:
            self._offers.rank_line(text, intervals, pause_s)
        self._show_strip()

    def send(self) -> str:
        """Send the line: log its decision, remember it in the conversation, and begin an empty one.

        Returns
        -------
        str
            The text as typed; :attr:`last_line` says what became of its decision.
        """
        text = self._editor.text
        if not text.strip():
            return text
        self._finish(text)
        if not self._offers.private:
            self._conversation.lines.append(text)
            self._editor.learn(text)
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
        return self._search_address.card(decision.candidate)

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
        decision = self._offers.settle(outcome)
        if decision is not None:
            self._show_strip()
        return decision

    # -- after every key -------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._follow_deletions()
        self._offers.rank(self._editor.before_cursor)
        self._show_strip()

    def _show_strip(self) -> None:
        if self._field_kind is FieldKind.PASSWORD:
            self._editor.suggest_nothing()
        else:
            self._editor.suggest(correct=self._preferences.correct)
        words = self._editor.suggested
        self._strip = Strip(words.words, words.correction, self._offers.query, self._strip.sequence + 1)

    # -- the end of a line -----------------------------------------------------------------------------------------

    def _follow_deletions(self) -> None:
        if self._log is not None:
            self._conversations.follow_deletions(self._log.deletions)

    def _begin_offers(self) -> None:
        self._follow_deletions()
        self._offers.begin(self._conversation, private=self._in_private_field)

    def _begin_line(self) -> None:
        self._editor.clear()
        self._begin_offers()
        self._show_strip()

    def _leave_line(self) -> None:
        """Leave the line unsent: a tap or a dismissal in it has happened all the same."""
        if self._offers.settled:
            self._finish(self._editor.text)

    def _finish(self, text: str) -> None:
        if self._offers.private:
            self.last_line = SentLine("", None, None, None)
            return
        impression, outcome = self._offers.finish()
        row = self._record(impression, outcome)
        self.last_line = SentLine(text, impression, outcome, row)

    def _record(self, impression: Impression | None, outcome: Outcome | None) -> int | None:
        row, engine = None, self._offers.engine
        try:
            if self._log is not None and engine is not None:
                row = self._log.finish_line(
                    arm=engine.model.arm if impression is None else impression.arm,
                    model_version=engine.model.version if impression is None else impression.model_version,
                    impression=impression,
                    outcome=outcome or Outcome.PENDING,
                )
            if impression is not None and outcome is not None and engine is not None:
                engine.learn(impression, outcome)
        except Exception:  # a full disk must not stop the sentence; messages of this layer hold no text
            self._troubles.add(Trouble.LOG)
            return None
        self._troubles.discard(Trouble.LOG)
        return row
