"""Correction of typing mistakes: symmetric delete search (symspellpy), loaded when first wanted, and optional.

Among the words nearest to what was typed, the likeliest is chosen by a noisy channel: how often the word is written
(here, after the words before it) against how likely the slip is. Swapped letters, a neighbouring key, a doubled or
missing second letter and a forgotten accent are small slips; a wrong first letter is a large one.

A headless device neither installs nor loads it: 0.7 s and some 20 MiB that nobody would look at.
"""

from __future__ import annotations

import importlib.util
import threading
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from keyboard_app.text.word_list import WordList

if TYPE_CHECKING:
    from symspellpy import SymSpell

PREFIX_LENGTH = 5
MAX_DISTANCE = 2
SHORTEST = 3
"""Shorter words are left alone: everything is one edit away from everything."""
LONGEST = 20
TWO_EDITS_FROM = 6
"""Words from this length on may be two edits off."""
MOST_CANDIDATES = 12
"""Nearest words that are weighed against each other, the most frequent first."""
SURE_BY = 1.2
"""A correction is sure when it is this much likelier, in natural logarithms, than the next."""

_SLIP = 2.4
"""Cost of an ordinary edit; smaller ones follow."""
_SWAP = 1.2
_NEIGHBOUR = 1.4
_DOUBLE = 1.1
_ACCENT = 0.5
_FIRST = 1.6
"""Added when the first letter is wrong."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The likeliest intended word."""

    word: str
    """Lower case."""
    sure: bool
    """Whether it may be put in without being asked for."""


class Corrector:
    """Corrects unknown words from a word list.

    Until :meth:`load` has run it knows no corrections; it never blocks a key press.
    """

    def __init__(self, words: WordList) -> None:
        self._words = words
        self._speller: SymSpell | None = None
        self._loading = threading.Lock()
        self.neighbours: Mapping[str, str] = {}
        """Letter -> letters whose keys lie around its own."""

    @staticmethod
    def available() -> bool:
        """Whether symspellpy is installed."""
        return importlib.util.find_spec("symspellpy") is not None

    @property
    def ready(self) -> bool:
        """Whether the dictionary is loaded."""
        return self._speller is not None

    def load(self) -> bool:
        """Load the dictionary, about 0.7 s the first time.

        Returns
        -------
        bool
            False when symspellpy is not installed; corrections then stay empty.
        """
        with self._loading:
            if self._speller is not None:
                return True
            if not self.available():
                return False
            from symspellpy import SymSpell

            speller = SymSpell(max_dictionary_edit_distance=MAX_DISTANCE, prefix_length=PREFIX_LENGTH)
            for word, count in zip(self._words.words, self._words.counts, strict=True):
                folded = word.lower()
                if folded not in self._words.unsuggested:
                    speller.create_dictionary_entry(folded, count)
            self._speller = speller
            return True

    def load_in_background(self) -> threading.Thread:
        """Start :meth:`load` on a daemon thread; a window calls this once its first frame is drawn."""
        thread = threading.Thread(target=self.load, name="correction", daemon=True)
        thread.start()
        return thread

    def knows(self, word: str) -> bool:
        """Whether the word is in the list, whatever its case."""
        return word.lower() in self._words

    def correct(
        self,
        word: str,
        *,
        one_edit: bool = False,
        probability: Callable[[str], float] | None = None,
        allowed: Callable[[str], bool] = lambda _word: True,
    ) -> Correction | None:
        """The likeliest intended word, or None: known, too short or long, or nothing near.

        Parameters
        ----------
        word
            As typed.
        one_edit
            Keeps long words to one edit as well: faster, and surer.
        probability
            Of a lower-case word at this place; its frequency in the language when None.
        allowed
            Whether a lower-case word may be offered.
        """
        speller = self._speller
        folded = word.lower().replace("’", "'")
        if speller is None or not SHORTEST <= len(folded) <= LONGEST or self.knows(folded):
            return None
        if any(character.isdigit() for character in folded):
            return None
        from symspellpy import Verbosity

        distance = MAX_DISTANCE if len(folded) >= TWO_EDITS_FROM and not one_edit else 1
        near = [item.term for item in speller.lookup(folded, Verbosity.CLOSEST, max_edit_distance=distance)]
        weigh = probability or (lambda term: self._words.count(term) / 1e9)
        weighed = sorted(
            (
                (log(weigh(term) + 1e-9) - self._cost(folded, term), term)
                for term in near[:MOST_CANDIDATES]
                if allowed(term)
            ),
            reverse=True,
        )
        if not weighed:
            return None
        best = weighed[0]
        second = weighed[1][0] if len(weighed) > 1 else float("-inf")
        return Correction(best[1], sure=best[0] - second >= SURE_BY)

    def _cost(self, typed: str, meant: str) -> float:
        """Cost of the cheapest slips that lead from ``meant`` to ``typed`` (optimal string alignment)."""
        rows = [[float("inf")] * (len(meant) + 1) for _ in range(len(typed) + 1)]
        rows[0][0] = 0.0
        for i in range(len(typed) + 1):
            for j in range(len(meant) + 1):
                best = rows[i][j]
                if i and j:
                    best = min(best, rows[i - 1][j - 1] + self._substitution(typed[i - 1], meant[j - 1]))
                if i:
                    doubled = i > 1 and typed[i - 1] == typed[i - 2]
                    best = min(best, rows[i - 1][j] + (_DOUBLE if doubled else _SLIP))
                if j:
                    doubled = j > 1 and meant[j - 1] == meant[j - 2]
                    best = min(
                        best, rows[i][j - 1] + (_DOUBLE if doubled else _SLIP if meant[j - 1] != "'" else _ACCENT)
                    )
                if i > 1 and j > 1 and typed[i - 1] == meant[j - 2] and typed[i - 2] == meant[j - 1]:
                    best = min(best, rows[i - 2][j - 2] + _SWAP)
                rows[i][j] = best
        return rows[-1][-1] + (_FIRST if typed[:1] != meant[:1] and _plain(typed[:1]) != _plain(meant[:1]) else 0.0)

    def _substitution(self, typed: str, meant: str) -> float:
        if typed == meant:
            return 0.0
        if _plain(typed) == _plain(meant):
            return _ACCENT
        return _NEIGHBOUR if typed in self.neighbours.get(meant, "") else _SLIP


def _plain(letter: str) -> str:
    """A letter without its accent."""
    return letter if letter.isascii() else unicodedata.normalize("NFD", letter)[:1]
