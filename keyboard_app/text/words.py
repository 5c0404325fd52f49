"""The three words of the strip: completions and a correction of the word at the cursor."""

from __future__ import annotations

from keyboard_app.text.completion import Completer, in_case_of
from keyboard_app.text.correction import Corrector
from keyboard_app.text.word_list import WordList, shipped_words

WORDS = 3
_OPENERS = ("I", "The", "You")
_FAR_MORE_FREQUENT = 30
"""A correction takes the centre from a completion when it is this many times as frequent: "teh" -> "the"."""


class WordSuggester:
    """Suggests up to three words for the word at the cursor.

    Parameters
    ----------
    words
        The word list.
    correction
        Whether mistakes are corrected. The dictionary is loaded by ``corrector.load()`` or ``load_in_background()``;
        until then, and without symspellpy, there are completions alone.
    """

    def __init__(self, words: WordList, *, correction: bool = True) -> None:
        self._words = words
        self._completer = Completer(words)
        self.corrector: Corrector | None = Corrector(words) if correction else None
        self._written = {word.lower(): word for word in words.words if word != word.lower()}

    @classmethod
    def shipped(cls, language: str = "en", *, correction: bool = True) -> WordSuggester:
        """Suggester over the shipped list of a language.

        Raises
        ------
        WordListError
            When there is no list for the language.
        """
        return cls(shipped_words(language), correction=correction)

    def suggest(self, word: str, *, line_start: bool = False) -> tuple[str, ...]:
        """Up to three words, best first; the window puts the best in the centre.

        Parameters
        ----------
        word
            What is typed of the word at the cursor; "" after a space.
        line_start
            Whether it begins the line.
        """
        if not word:
            return _OPENERS if line_start else tuple(self._completer.complete("", WORDS))
        found = [c for c in self._completer.complete(word, WORDS + 1) if c != word]
        correction = self._correction(word, found)
        if correction is not None:
            found.insert(0, correction)
        return tuple(found[:WORDS])

    def _correction(self, word: str, completions: list[str]) -> str | None:
        """A correction, where nothing begins like the word, or what does is far rarer: half a word is no mistake."""
        if self.corrector is None:
            return None
        to_beat = _FAR_MORE_FREQUENT * self._count(completions[0]) if completions else 0
        correction = self.corrector.correct(word, one_edit=bool(completions))
        if correction is None or self._count(correction) < to_beat:
            return None
        return in_case_of(word, self._written.get(correction, correction))

    def _count(self, word: str) -> int:
        return self._words.count_of.get(word.lower(), 0)
