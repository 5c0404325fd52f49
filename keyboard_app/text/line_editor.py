"""What keys do to the line being composed, with the help of words: corrections, chosen words, and taking them back.

Nothing that goes wrong with words stops typing: the line goes on without them, and the editor says what fails.
"""

from __future__ import annotations

from data_logging import LogError
from keyboard_app.text.composition import Composition
from keyboard_app.text.words import Suggested, WordSuggester

_ENDS_WORD = frozenset(" .,!?;:…")
"""A correction is put in by one of these."""
_AFTER_WORD = frozenset(".,!?;:…)")
"""These take the place of the space that came with a chosen word."""


class LineEditor:
    """One line after the other. Not thread-safe, but for :attr:`words`."""

    def __init__(self, words: WordSuggester | None = None) -> None:
        self.words = self._suggested_with = words
        """Suggests words; may be replaced at any time, from any thread, by another language's."""
        self.suggested = Suggested()
        """The words that are offered now."""
        self.words_fail = False
        """Whether words could not be suggested."""
        self.memory_fails = False
        """Whether what the person writes, or refuses, could not be kept."""
        self._composition = Composition()
        self._corrected: tuple[str, str] | None = None
        """What was typed, and the correction that took its place."""
        self._spaced = False
        """Whether the space before the cursor came with a chosen word."""

    # -- the line --------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The whole line."""
        return self._composition.text

    @property
    def cursor(self) -> int:
        """Position of the cursor, in characters from the start."""
        return self._composition.cursor

    @property
    def before_cursor(self) -> str:
        """The line up to the cursor."""
        return self._composition.before_cursor

    def clear(self) -> None:
        """Begin an empty line."""
        self._corrected, self._spaced = None, False
        self._composition.clear()

    # -- keys ------------------------------------------------------------------------------------------------------

    def type(self, char: str) -> None:
        """One key press (or one paste): a space or sign puts in the correction that is offered."""
        correction = self.suggested.correction
        spaced, self._spaced = self._spaced, False
        if correction is not None and char in _ENDS_WORD:
            typed = self._composition.word
            self._composition.replace_before(len(typed), correction + char)
            self._corrected = (typed, correction)
        elif spaced and char in _AFTER_WORD and self._composition.before_cursor.endswith(" "):
            self._composition.replace_before(1, char + " ")
        elif not (spaced and char == " "):
            self._composition.insert(char)
        else:
            self._composition.keep()

    def insert(self, text: str) -> None:
        """Put ``text`` in at the cursor as it is: nothing in it is corrected."""
        self._composition.insert(text)

    def end_sentence(self) -> None:
        """Put a full stop in place of the space before the cursor, and a space; backspace right after undoes it."""
        self._composition.replace_before(1, ". ")

    def backspace(self) -> bool:
        """Delete backwards, or undo what was just put in; a correction undone is not made again.

        Returns
        -------
        bool
            False when there was nothing to delete.
        """
        undone, self._corrected = self._corrected, None
        self._spaced = False
        if undone is not None and self._composition.can_undo:
            self._dislike(undone[1], undone[0])
        return self._composition.backspace()

    def move_cursor(self, cursor: int) -> None:
        """Put the cursor elsewhere."""
        self._corrected, self._spaced = None, False
        self._composition.move_to(cursor)

    def choose_word(self, word: str) -> None:
        """Put a suggested word in place of the one at the cursor; what was typed itself is kept and not corrected."""
        typed, correction = self._composition.word, self.suggested.correction
        self._corrected = None
        if correction is not None and word == typed:
            self._dislike(correction, typed)
        self._composition.replace_word(word)
        self._spaced = True

    # -- words -----------------------------------------------------------------------------------------------------

    @property
    def words_replaced(self) -> bool:
        """Whether :attr:`words` were replaced since they last suggested."""
        return self.words is not self._suggested_with

    def suggest(self, *, correct: bool = True) -> None:
        """Bring :attr:`suggested` up to date with the line; ``correct`` says whether corrections are wanted."""
        words = self._suggested_with = self.words
        self.suggested = Suggested() if words is None else self._found(words, correct)

    def suggest_nothing(self) -> None:
        """Offer no words, whatever the line is."""
        self._suggested_with = self.words
        self.suggested = Suggested()

    def _found(self, words: WordSuggester, correct: bool) -> Suggested:
        word, before = self._composition.word, self._composition.before_cursor
        try:
            found = words.suggest(word, before[: len(before) - len(word)])
        except Exception:  # whatever it is, the person goes on typing; its text may quote theirs, so it is not kept
            self.words_fail = True
            return Suggested()
        self.words_fail = False
        # A name inside a sentence is nobody's mistake, and half a word in the middle of one neither.
        named = word[:1].isupper() and bool(before[: len(before) - len(word)].strip(" \"'“„«(¿¡"))
        if not correct or named or self._composition.in_word:
            return Suggested(found.words)
        return found

    def dislike_word(self, word: str) -> None:
        """Never offer a word again, and forget it where it was learned."""
        words = self.words
        if words is not None and words.memory is not None:
            try:
                words.memory.forget(word)
            except LogError:
                self.memory_fails = True
        self._dislike(word)

    def learn(self, text: str) -> None:
        """Remember the words of a line that was sent, where there is a memory."""
        words = self.words
        if words is None or words.memory is None:
            return
        try:
            words.memory.learn(text, words.language)
        except LogError:  # a full disk must not stop the sentence
            self.memory_fails = True
        else:
            self.memory_fails = False

    def _dislike(self, word: str, typed: str = "") -> None:
        words = self.words
        if words is None or words.memory is None:
            return
        try:
            words.memory.dislike(words.language, word, typed)
        except LogError:
            self.memory_fails = True
        else:
            self.memory_fails = False
