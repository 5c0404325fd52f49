"""Sorted words in one numpy array: membership, beginnings and near misses, in a few bytes a word.

Near misses (typing mistakes) are found without an index of deletions: words whose set of letters differs by too much
are ruled out for all words at once by a bit mask, and the few that remain are compared by the restricted
Damerau-Levenshtein distance (a swap of neighbours counts once; Boytsov, "Indexing methods for approximate dictionary
searching", ACM JEA 16, 2011, section 2).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST_WORD = 40
"""Bytes of a word that are kept; words that agree so far are taken for one."""
SHORTEST_CORRECTED = 5
"""Shorter words have too many neighbours to be corrected."""
TWO_MISTAKES = 9
"""From this length on two mistakes are forgiven, below one."""

Bytes = NDArray[np.bytes_]


class Vocabulary:
    """Distinct words, by number in the order of their UTF-8 bytes."""

    def __init__(self, words: Bytes) -> None:
        """Take ``words``, sorted and distinct; see :func:`sorted_words`."""
        self._words = words
        self.number = functools.lru_cache(maxsize=8192)(self._number)
        self.nearest = functools.lru_cache(maxsize=4096)(self._nearest)

    def __len__(self) -> int:
        """Number of words."""
        return len(self._words)

    def __contains__(self, word: str) -> bool:
        """Whether ``word`` is one of them."""
        return self.number(word) >= 0

    def word(self, number: int) -> str:
        """The word of that number."""
        return bytes(self._words[number]).decode("utf-8", "ignore")

    def _number(self, word: str) -> int:
        """Number of ``word``, -1 when it is not among them."""
        key = _key(word)
        place = int(np.searchsorted(self._words, key))
        return place if place < len(self._words) and self._words[place] == key else -1

    def beginning_with(self, prefix: str) -> range:
        """Numbers of the words that begin with ``prefix``."""
        key = _key(prefix)
        first, last = np.searchsorted(self._words, [key, key[: LONGEST_WORD - 1] + b"\xff"])
        return range(int(first), int(last))

    @functools.cached_property
    def _letters(self) -> NDArray[np.uint32]:
        return letter_masks(self._words)

    @functools.cached_property
    def _lengths(self) -> NDArray[np.uint8]:
        return np.char.str_len(self._words).astype(np.uint8)

    def _nearest(self, word: str) -> tuple[tuple[int, int], ...]:
        """(mistakes, number) of the words that ``word`` may be a mistake for, nearest first; () for short words.

        The first letter is taken to be right: mistakes there are rare, and without it many words have neighbours.
        """
        if len(word) < SHORTEST_CORRECTED or not word.isalpha():
            return ()
        allowed = 2 if len(word) >= TWO_MISTAKES else 1
        among = self.beginning_with(word[0])
        here = slice(among.start, among.stop)
        key = np.array([_key(word)])
        near = np.bitwise_count(self._letters[here] ^ letter_masks(key)[0]) <= 2 * allowed
        near &= np.abs(self._lengths[here].astype(np.int16) - len(key[0])) <= allowed
        found = []
        for number in (np.flatnonzero(near) + among.start).tolist():
            if (distance := mistakes(word, self.word(number), allowed)) <= allowed:
                found.append((distance, number))
        return tuple(sorted(found))


def sorted_words(words: Iterable[str]) -> Bytes:
    """Distinct words in the order of their bytes."""
    return np.unique(np.array([_key(word) for word in words] or [b""], dtype=f"S{LONGEST_WORD}"))


def letter_masks(words: Bytes) -> NDArray[np.uint32]:
    """For each word the set of its bytes, hashed to 32 bits, [n]."""
    width = words.dtype.itemsize
    masks = np.zeros(len(words), np.uint32)
    grid = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), width)
    for column in range(width):
        here = grid[:, column]
        masks |= np.where(here > 0, np.uint32(1) << (here & 31).astype(np.uint32), np.uint32(0))
    return masks


def mistakes(one: Sequence[str], other: Sequence[str], most: int) -> int:
    """Restricted Damerau-Levenshtein distance, or ``most`` + 1 when it is greater than ``most``."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i] + [0] * len(other)
        for j, b in enumerate(other, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], before[j - 2] + 1)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return min(last[-1], most + 1)


def _key(word: str) -> bytes:
    return word.encode()[:LONGEST_WORD]
