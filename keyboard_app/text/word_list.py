"""Reading a word list (see ``words/README.md``)."""

from __future__ import annotations

import gzip
import zlib
from array import array
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "words"


class WordListError(Exception):
    """A word list is missing or damaged."""


class WordList:
    """Words with their frequencies, in little memory: one string a word, no dictionary.

    Parameters
    ----------
    words
        As written, some with capitals; most frequent first.
    counts
        Occurrences per 10^9 words, descending.
    unsuggested
        Lower-case words that are known but never suggested.
    """

    def __init__(self, words: tuple[str, ...], counts: array[int], unsuggested: frozenset[str]) -> None:
        self.words = words
        self.counts = counts
        self.unsuggested = unsuggested
        folded = [lower if (lower := word.lower()) != word else word for word in words]
        self._order = array("I", sorted(range(len(words)), key=folded.__getitem__))
        self._sorted = [folded[rank] for rank in self._order]

    @classmethod
    def read(cls, path: Path) -> WordList:
        """Read ``word<TAB>count`` lines from a gzipped file.

        Raises
        ------
        WordListError
            When the file is missing or damaged.
        """
        words: list[str] = []
        unsuggested: set[str] = set()
        counts = array("L")
        try:
            # Line by line: a list of all lines would leave holes in memory that are as large as the words.
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    word, tab, count = line.partition("\t")
                    if not tab:
                        raise ValueError("no count")
                    counts.append(int(count))
                    if word.startswith("!"):
                        word = word[1:]
                        unsuggested.add(word.lower())
                    words.append(word)
        except (OSError, EOFError, ValueError, OverflowError, zlib.error):
            raise WordListError(f"The word list {path.name} is missing or damaged: install the app again.") from None
        return cls(tuple(words), counts, frozenset(unsuggested))

    def rank(self, word: str) -> int | None:
        """Place of a lower-case word in :attr:`words`, 0 for the most frequent; None when it is not listed."""
        at = bisect_left(self._sorted, word)
        return self._order[at] if at < len(self._sorted) and self._sorted[at] == word else None

    def count(self, word: str) -> int:
        """Occurrences of a lower-case word per 10^9 words; 0 when it is not listed."""
        rank = self.rank(word)
        return 0 if rank is None else self.counts[rank]

    def __contains__(self, word: str) -> bool:
        return self.rank(word) is not None

    def written(self, word: str) -> str:
        """A lower-case word the way the list writes it; itself when it is not listed."""
        rank = self.rank(word)
        return word if rank is None else self.words[rank]

    def beginning_with(self, prefix: str) -> array[int]:
        """Ranks of the words that begin with a lower-case prefix, in the order of the alphabet."""
        first = bisect_left(self._sorted, prefix)
        last = bisect_left(self._sorted, prefix + "\U0010ffff", first)
        return self._order[first:last]


@lru_cache(maxsize=2)
def shipped_words(language: str = "en") -> WordList:
    """The shipped list of a language; the two used last stay in memory.

    Raises
    ------
    WordListError
        When there is none for the language.
    """
    return WordList.read(FOLDER / f"{language}.txt.gz")
