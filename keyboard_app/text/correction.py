"""Correction of typing mistakes, loaded when first wanted.

Among the words near to what was typed, the likeliest is chosen by a noisy channel: how often the word is written (here,
after the words before it) against how likely the slip is. Swapped letters, a neighbouring key, a doubled or missing
second letter and a forgotten accent are small slips; a wrong first letter is a large one. (Kernighan, Church and Gale,
"A spelling correction program based on a noisy channel model", 1990.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

from keyboard_app.text.near_words import LONGEST, NearWords
from keyboard_app.text.word_list import WordList

SHORTEST = 3
"""Shorter words are left alone: everything is one edit away from everything."""
TWO_EDITS_FROM = 6
"""Words from this length on may be two edits off."""
SURE_BY = 1.5
"""A correction is sure when it is this much likelier, in natural logarithms, than the next."""


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
        self._near: NearWords | None = None
        self._loading = threading.Lock()
        self.neighbours: Mapping[str, str] = {}
        """Letter -> letters whose keys lie around its own."""

    @property
    def ready(self) -> bool:
        """Whether the words are laid out for searching."""
        return self._near is not None

    def load(self) -> None:
        """Lay the words out for searching, about 0.1 s the first time."""
        with self._loading:
            if self._near is None:
                self._near = NearWords(self._words)

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
        folded = word.lower().replace("’", "'")
        if self._near is None or not SHORTEST <= len(folded) <= LONGEST or self.knows(folded):
            return None
        if any(character.isdigit() for character in folded):
            return None
        weigh = probability or (lambda term: self._words.count(term) / 1e9)
        ranks, costs = self._near.near(folded, 1, self.neighbours)
        if not len(ranks) and len(folded) >= TWO_EDITS_FROM and not one_edit:
            ranks, costs = self._near.near(folded, 2, self.neighbours)
        near = [(self._words.words[rank].lower(), float(cost)) for rank, cost in zip(ranks, costs, strict=True)]
        weighed = sorted(((log(weigh(term) + 1e-9) - cost, term) for term, cost in near if allowed(term)), reverse=True)
        if not weighed:
            return None
        best, second = weighed[0], weighed[1][0] if len(weighed) > 1 else float("-inf")
        return Correction(best[1], sure=best[0] - second >= SURE_BY)
