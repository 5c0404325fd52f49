"""Correction of typing mistakes: symmetric delete search (symspellpy), loaded when first wanted, and optional.

A headless device neither installs nor loads it: 0.7 s and some 20 MiB that nobody would look at.
"""

from __future__ import annotations

import importlib.util
import threading
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


class Corrector:
    """Corrects unknown words from a word list.

    Until :meth:`load` has run it knows no corrections; it never blocks a key press.
    """

    def __init__(self, words: WordList) -> None:
        self._words = words
        self._speller: SymSpell | None = None
        self._loading = threading.Lock()

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
            for word, count in self._words.count_of.items():
                if word not in self._words.unsuggested:
                    speller.create_dictionary_entry(word, count)
            self._speller = speller
            return True

    def load_in_background(self) -> threading.Thread:
        """Start :meth:`load` on a daemon thread; a window calls this once its first frame is drawn."""
        thread = threading.Thread(target=self.load, name="correction", daemon=True)
        thread.start()
        return thread

    def knows(self, word: str) -> bool:
        """Whether the word is in the list, whatever its case."""
        return word.lower() in self._words.count_of

    def correct(self, word: str, *, one_edit: bool = False) -> str | None:
        """The likeliest intended word in lower case, or None: known, too short or long, or nothing near.

        ``one_edit`` keeps long words to one edit as well: faster, and surer.
        """
        speller = self._speller
        folded = word.lower().replace("’", "'")
        if speller is None or not SHORTEST <= len(folded) <= LONGEST or self.knows(folded):
            return None
        if any(character.isdigit() for character in folded):
            return None
        from symspellpy import Verbosity

        distance = MAX_DISTANCE if len(folded) >= TWO_EDITS_FROM and not one_edit else 1
        found = speller.lookup(folded, Verbosity.TOP, max_edit_distance=distance)
        return found[0].term if found else None
