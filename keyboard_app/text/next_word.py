"""Which words follow which: pairs that ship with a language, behind what the person wrote."""

from __future__ import annotations

import gzip
import zlib
from array import array
from bisect import bisect_left
from pathlib import Path

from keyboard_app.text.language import Language
from keyboard_app.text.word_list import FOLDER, WordList, WordListError

_GUESSED = (0.06, 0.045, 0.035, 0.03, 0.025, 0.02)
"""Probabilities given to the words of a language file's ``after``, which has no counts."""


class ShippedPairs:
    """Probabilities of a word after another, from ``words/CODE.pairs.txt.gz`` where it ships, else from ``after``.

    Pairs lie in arrays of word ranks: 40,000 of them take less than half a MiB.
    """

    def __init__(self, words: WordList, language: Language, folder: Path = FOLDER) -> None:
        self._words = words
        pairs = _read(folder / f"{language.code}.pairs.txt.gz", words)
        known = {first for first, _, _ in pairs}
        for before, following in language.after.items():
            first = _rank(words, before)
            if first is None or first in known:
                continue
            for place, word in enumerate(following):
                second = words.rank(word.lower())
                if second is not None:
                    share = _GUESSED[min(place, len(_GUESSED) - 1)]
                    pairs.append((first, second, share))
        pairs.sort(key=lambda pair: (pair[0], -pair[2]))
        self._first = array("l", [pair[0] for pair in pairs])
        self._second = array("L", [pair[1] for pair in pairs])
        self._share = array("f", [pair[2] for pair in pairs])

    def following(self, before: str, limit: int = 60) -> dict[str, float]:
        """Lower-case words after a lower-case word ("" begins a sentence) -> probability, likeliest first."""
        first = _rank(self._words, before)
        if first is None:
            return {}
        begin = bisect_left(self._first, first)
        end = min(bisect_left(self._first, first + 1), begin + limit)
        return {self._words.words[self._second[at]].lower(): self._share[at] for at in range(begin, end)}


def _rank(words: WordList, word: str) -> int | None:
    return words.rank(word) if word else -1


def _read(path: Path, words: WordList) -> list[tuple[int, int, float]]:
    if not path.exists():
        return []
    try:
        rows = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
        counted = [(_rank(words, first), words.rank(second), int(count)) for first, second, count in rows]
    except (OSError, EOFError, ValueError, zlib.error):
        raise WordListError(f"The word list {path.name} is missing or damaged: install the app again.") from None
    totals: dict[int, int] = {}
    for first, _, count in counted:
        if first is not None:
            totals[first] = totals.get(first, 0) + count
    # Pairs that were too rare to ship are held back for: no word is ever certain.
    return [
        (first, second, count / (totals[first] + 20))
        for first, second, count in counted
        if first is not None and second is not None
    ]
