"""Reading a word list (see ``words/README.md``)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent / "words"


class WordListError(Exception):
    """A word list is missing or damaged."""


@dataclass(frozen=True)
class WordList:
    """Words with their frequencies, most frequent first."""

    words: tuple[str, ...]
    """As written, a few with capitals."""
    counts: tuple[int, ...]
    """Occurrences per 10^9 words, descending."""
    unsuggested: frozenset[str]
    """Lower-case words that are known but never suggested."""

    @cached_property
    def count_of(self) -> Mapping[str, int]:
        """Lower-case word -> count."""
        return MappingProxyType({word.lower(): count for word, count in zip(self.words, self.counts, strict=True)})

    @classmethod
    def read(cls, path: Path) -> WordList:
        """Read ``word<TAB>count`` lines from a gzipped file.

        Raises
        ------
        WordListError
            When the file is missing or damaged.
        """
        try:
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                rows = [line.rstrip("\n").split("\t") for line in stream]
            counts = tuple([int(count) for _, count in rows])
        except (OSError, EOFError, ValueError, zlib.error):
            raise WordListError(f"The word list {path.name} is missing or damaged: install the app again.") from None
        words = tuple([word.removeprefix("!") for word, _ in rows])
        unsuggested = frozenset(word[1:].lower() for word, _ in rows if word.startswith("!"))
        return cls(words, counts, unsuggested)


@lru_cache(maxsize=4)
def shipped_words(language: str = "en") -> WordList:
    """The shipped list of a language; read once.

    Raises
    ------
    WordListError
        When there is none for the language.
    """
    return WordList.read(FOLDER / f"{language}.txt.gz")
