"""Word completion: a sorted list, and a table of the top words for short prefixes, filled as they come up.

A long prefix has few completions: they lie side by side in the sorted list and the best are picked on the spot. A
short prefix has thousands: its best are picked once.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import nsmallest

from keyboard_app.text.word_list import WordList

KEPT = 12
"""Most completions that can be asked for."""
REMEMBERED = 4_096
"""Prefixes whose best words are remembered."""


class Completer:
    """Completes prefixes from a word list, most frequent words first."""

    def __init__(self, words: WordList) -> None:
        self._words = words
        self._best = lru_cache(maxsize=REMEMBERED)(self._look_up)

    def complete(self, prefix: str, limit: int = 3) -> list[str]:
        """Words that start with ``prefix`` (lower or upper case), most frequent first, in the prefix's own case.

        Parameters
        ----------
        prefix
            What is typed of the word; "" gives the most frequent words.
        limit
            Largest number of words, 0..``KEPT``.
        """
        return [in_case_of(prefix, word) for word in self._best(prefix.lower().replace("’", "'"))[:limit]]

    def _look_up(self, prefix: str) -> tuple[str, ...]:
        words = self._words
        ranks = range(KEPT * 4) if not prefix else nsmallest(KEPT + 8, words.beginning_with(prefix))
        found = [words.words[rank] for rank in ranks if rank < len(words.words)]
        return tuple(word for word in found if word.lower() not in words.unsuggested)[:KEPT]


def in_case_of(typed: str, word: str) -> str:
    """Write ``word`` the way ``typed`` begins: all capitals, a first capital, or as it stands.

    >>> in_case_of("Rest", "restaurant"), in_case_of("RE", "restaurant"), in_case_of("lo", "London")
    ('Restaurant', 'RESTAURANT', 'London')
    """
    if not typed[:1].isupper():
        return word
    if len(typed) > 1 and typed.isupper():
        return word.upper()
    return word[:1].upper() + word[1:]
