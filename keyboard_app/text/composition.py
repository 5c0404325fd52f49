"""The text being composed: a string, a cursor, and the word at the cursor."""

from __future__ import annotations

APOSTROPHES = "'’"


class Composition:
    """An editable line. The cursor lies between characters, 0..len(text)."""

    def __init__(self) -> None:
        self._text = ""
        self._cursor = 0
        self._undo: tuple[str, int] | None = None

    @property
    def text(self) -> str:
        """The whole line."""
        return self._text

    @property
    def cursor(self) -> int:
        """Position of the cursor, in characters from the start."""
        return self._cursor

    @property
    def before_cursor(self) -> str:
        """The line up to the cursor."""
        return self._text if self._cursor == len(self._text) else self._text[: self._cursor]

    @property
    def word(self) -> str:
        """The part of a word that ends at the cursor, "" after a space or sign."""
        return self._text[self._word_start() : self._cursor]

    @property
    def can_undo(self) -> bool:
        """Whether backspace would take back what was just put in."""
        return self._undo is not None

    @property
    def in_word(self) -> bool:
        """Whether the cursor stands inside a word, with letters on both sides."""
        return bool(self.word) and _belongs_to_word(self._text[self._cursor : self._cursor + 1] or " ")

    def keep(self) -> None:
        """What was put in stays: backspace deletes from now on."""
        self._undo = None

    def insert(self, text: str) -> None:
        """Type ``text`` at the cursor."""
        self._text = self._text[: self._cursor] + text + self._text[self._cursor :]
        self._cursor += len(text)
        self._undo = None

    def backspace(self) -> bool:
        """Delete the character before the cursor, or undo the word that was put in by the last touch.

        Returns
        -------
        bool
            False when there was nothing to delete.
        """
        if self._undo is not None:
            self._text, self._cursor = self._undo
            self._undo = None
            return True
        if self._cursor == 0:
            return False
        self._text = self._text[: self._cursor - 1] + self._text[self._cursor :]
        self._cursor -= 1
        return True

    def replace_before(self, length: int, text: str) -> None:
        """Put ``text`` in place of the last ``length`` characters; backspace right after it undoes this."""
        undo = (self._text, self._cursor)
        start = max(self._cursor - length, 0)
        self._text = self._text[:start] + text + self._text[self._cursor :]
        self._cursor = start + len(text)
        self._undo = undo

    def replace_word(self, word: str) -> None:
        """Put ``word`` and a space in place of the word at the cursor; backspace right after it undoes this."""
        before, after = self._text[: self._word_start()], self._text[self._cursor :]
        undo = (self._text, self._cursor)
        put = word if after.startswith(" ") else word + " "
        self._text = before + put + after
        self._cursor = len(before) + len(put)
        self._undo = undo

    def move_to(self, cursor: int) -> None:
        """Move the cursor; positions outside the line are clipped to it."""
        self._cursor = max(0, min(cursor, len(self._text)))
        self._undo = None

    def clear(self) -> None:
        """Begin an empty line."""
        self._text, self._cursor, self._undo = "", 0, None

    def _word_start(self) -> int:
        start = self._cursor
        while start and _belongs_to_word(self._text[start - 1]):
            start -= 1
        while start < self._cursor and self._text[start] in APOSTROPHES:
            start += 1  # an opening quote is no part of the word
        return start


def _belongs_to_word(character: str) -> bool:
    return character.isalnum() or character in APOSTROPHES
