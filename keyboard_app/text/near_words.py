"""Words near to what was typed, each with what the slips between them cost, found without an index.

A slip changes few letters: of all words only those can be near whose length and whose set of letters are near, and
comparing these for a whole list takes 0.1 ms. The few hundred that are left are compared letter by letter, all at once
(optimal string alignment with weights; a row of the table is one operation on arrays).

A table of deletions (symspellpy) finds the same words in a tenth of the time, but it took 23 MiB, 0.7 s of loading and
pauses of 60 ms in the garbage collector. This takes 2 MiB and 0.1 s, and about 1 ms a misspelt word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from keyboard_app.text.word_list import WordList

LONGEST = 22
"""Longer words are never near."""

SLIP = 3.6
"""Cost of an ordinary edit, in natural logarithms; smaller ones follow."""
SWAP = 1.8
NEIGHBOUR = 2.1
DOUBLE = 1.65
ACCENT = 0.75
FIRST = 2.4
"""Added when the first letter is wrong."""
MOST_COMPARED = 4_000
"""Of more words than this the most frequent are compared."""
_FAR = np.float32(1e6)
_ROUNDING = 1e-3


class NearWords:
    """A word list, laid out for comparing all of it with one word.

    Parameters
    ----------
    words
        The list; words that are never suggested are left out.
    """

    def __init__(self, words: WordList) -> None:
        lower = [word.lower() for word in words.words]
        kept = [rank for rank, word in enumerate(lower) if len(word) <= LONGEST and word not in words.unsuggested]
        self._ranks = np.array(kept, np.uint32)
        letters = np.array([lower[rank] for rank in kept], f"U{LONGEST}")
        codes = letters.view(np.uint32).reshape(len(kept), LONGEST)
        self._alphabet = ["", *sorted({letter for rank in kept for letter in lower[rank]})]
        numbers = np.zeros(int(codes.max(initial=0)) + 1, np.uint8)
        numbers[[ord(letter) for letter in self._alphabet[1:]]] = np.arange(1, len(self._alphabet))
        self._codes: NDArray[np.uint8] = numbers[codes]
        self._lengths: NDArray[np.int8] = (codes != 0).sum(axis=1).astype(np.int8)
        self._plain = [_plain(letter) for letter in self._alphabet]
        self._omitted = np.array([ACCENT if letter == "'" else SLIP for letter in self._alphabet], np.float32)
        self._omitted[0] = 0.0  # behind the end
        self._replaced: dict[str, NDArray[np.float32]] = {}
        self._replaced_by: Mapping[str, str] = {}
        bits = np.array([_bit(letter) for letter in self._alphabet], np.uint32)
        self._sets: NDArray[np.uint32] = np.bitwise_or.reduce(bits[self._codes], axis=1)

    def near(
        self, typed: str, edits: int, neighbours: Mapping[str, str]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Words at most so many ordinary slips away.

        Parameters
        ----------
        typed
            A lower-case word.
        edits
            1 or 2.
        neighbours
            Letter -> letters whose keys lie around its own.

        Returns
        -------
        tuple
            ``uint32[n]`` ranks in the word list, ascending (the most frequent first), and ``float32[n]`` costs.
        """
        # A slip puts one letter in place of another at most.
        letters = np.uint32(_set(typed))
        at = np.flatnonzero(abs(self._lengths - np.int8(len(typed))) <= edits)
        sets = self._sets[at]
        at = at[(np.bitwise_count(sets & ~letters) <= edits) & (np.bitwise_count(letters & ~sets) <= edits)]
        at = at[:MOST_COMPARED]
        costs = self._costs(typed, at, neighbours)
        found = costs <= edits * SLIP + _ROUNDING
        costs = costs[found] + np.where(self._begins_wrong(typed, at[found]), np.float32(FIRST), np.float32(0.0))
        return self._ranks[at[found]], costs

    def _costs(self, typed: str, at: NDArray[np.intp], neighbours: Mapping[str, str]) -> NDArray[np.float32]:
        """Costs of the cheapest slips that lead from each of the words to ``typed``."""
        width = min(LONGEST, len(typed) + 2)
        codes = self._codes[at, :width]
        # What a letter of the word costs when it was left out; its sum up to each place.
        left_out = self._omitted[codes]
        again = codes[:, 1:] == codes[:, :-1]
        left_out[:, 1:][again & (codes[:, 1:] > 0)] = DOUBLE
        skipped = np.zeros((len(at), width + 1), np.float32)
        np.cumsum(left_out, axis=1, out=skipped[:, 1:])

        row = skipped.copy()
        before: NDArray[np.float32] | None = None
        same_before: NDArray[np.bool_] | None = None
        for place, letter in enumerate(typed):
            added = DOUBLE if place and typed[place - 1] == letter else SLIP
            same = codes == self._index(letter)
            replaced = self._replacing(letter, neighbours)[codes]
            following = row + np.float32(added)
            np.minimum(following[:, 1:], row[:, :-1] + replaced, out=following[:, 1:])
            if before is not None and same_before is not None:
                # This letter and the one before it, the other way round.
                swapped = np.where(same[:, :-1] & same_before[:, 1:], before[:, :-2] + np.float32(SWAP), _FAR)
                np.minimum(following[:, 2:], swapped, out=following[:, 2:])
            # Letters left out: the cheapest of all places further left, plus what lies between.
            following = np.minimum.accumulate(following - skipped, axis=1) + skipped
            before, row, same_before = row, following, same
        return np.take_along_axis(row, self._lengths[at][:, None].astype(np.intp), axis=1)[:, 0]

    def _replacing(self, typed: str, neighbours: Mapping[str, str]) -> NDArray[np.float32]:
        """Cost of typing a letter in place of each letter of the alphabet; remembered while the keys stay the same."""
        if neighbours is not self._replaced_by:
            self._replaced, self._replaced_by = {}, neighbours
        if typed not in self._replaced:
            costs = np.full(len(self._alphabet), SLIP, np.float32)
            for place, (meant, plain) in enumerate(zip(self._alphabet, self._plain, strict=True)):
                if meant == typed:
                    costs[place] = 0.0
                elif plain == _plain(typed):
                    costs[place] = ACCENT
                elif meant and typed in neighbours.get(meant, ""):
                    costs[place] = NEIGHBOUR
            self._replaced[typed] = costs
        return self._replaced[typed]

    def _begins_wrong(self, typed: str, at: NDArray[np.intp]) -> NDArray[np.bool_]:
        alike = np.array([plain == _plain(typed[:1]) for plain in self._plain])
        wrong: NDArray[np.bool_] = ~alike[self._codes[at, 0]]
        return wrong

    def _index(self, letter: str) -> int:
        """Place of a letter in the alphabet; one that no word has otherwise."""
        try:
            return self._alphabet.index(letter)
        except ValueError:
            return len(self._alphabet)


def _plain(letter: str) -> str:
    """A letter without its accent."""
    return letter if letter.isascii() else unicodedata.normalize("NFD", letter)[:1]


def _bit(letter: str) -> int:
    plain = _plain(letter)
    if not plain:
        return 0
    return 1 << (ord(plain) - ord("a") if "a" <= plain <= "z" else 26 + ord(plain) % 6)


def _set(word: str) -> int:
    letters = 0
    for letter in word:
        letters |= _bit(letter)
    return letters
