"""Finding names in a line: Aho-Corasick over folded words, whole words only, the longest name wins."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass

import ahocorasick

COMPLETIONS = 6
"""Most names that an unfinished word is taken for, those first that lack the least."""
TOO_MANY = 48
"""A beginning of more names than this says nothing."""
SHORTEST_PREFIX = 3


@dataclass(frozen=True, slots=True)
class Mention:
    """A name found in a line."""

    values: tuple[int, ...]
    """What the name stands for, as given to :class:`Recognizer`."""
    start: int
    """First word."""
    end: int
    """One past the last word."""
    share: float
    """Share of the name that is typed, below 1 only for a name still being typed."""


class Recognizer:
    """All names of a catalog in one automaton.

    A line is matched as its words with a blank around each, and so is a name: ``" reading "`` is found in
    ``" is reading fun "`` and not in ``" proofreading "``. That makes word boundaries part of the
    search in any script that has them.
    """

    def __init__(self, names: Iterable[tuple[str, int]]) -> None:
        """Build from (name as folded words joined by blanks, value) pairs; one name may have several values."""
        values: dict[str, list[int]] = {}
        for name, value in names:
            known = values.setdefault(name, [])
            if value not in known:
                known.append(value)
        self._values = [tuple(found) for found in values.values()]
        self._automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for number, name in enumerate(values):
            self._automaton.add_word(f" {name} ", number)
        self._lengths = [name.count(" ") + 1 for name in values]
        self._empty = not values
        if not self._empty:
            self._automaton.make_automaton()
        self._sorted = sorted((name, number) for number, name in enumerate(values))

    def find(self, words: tuple[str, ...]) -> list[Mention]:
        """Names in a line, in order; a name inside a longer one is left out, names of the same length are not."""
        if self._empty or not words:
            return []
        text = f" {' '.join(words)} "
        word_at = {}
        position = 0
        for number, word in enumerate(words):
            word_at[position] = number
            position += len(word) + 1
            word_at[position] = number + 1
        found = []
        for last, number in self._automaton.iter(text):
            end = word_at[last]
            found.append((end - self._lengths[number], end, number))
        found.sort(key=lambda item: (item[0], -item[1]))
        mentions: list[Mention] = []
        reached = 0
        for start, end, number in found:
            if end > reached:
                mentions.append(Mention(self._values[number], start, end, 1.0))
                reached = end
        return mentions

    def complete(self, words: tuple[str, ...]) -> list[Mention]:
        """Names that the last words may grow into, longest beginning first; [] when far too many or none."""
        for count in range(min(4, len(words)), 0, -1):
            prefix = " ".join(words[-count:])
            if len(words[-1]) < (SHORTEST_PREFIX if count == 1 else 1):
                continue
            start = bisect.bisect_left(self._sorted, (prefix,))
            end = bisect.bisect_left(self._sorted, (prefix + "\uffff",), start)
            grown = [(name, number) for name, number in self._sorted[start:end] if name != prefix]
            if 0 < len(grown) <= TOO_MANY:
                grown.sort(key=lambda item: (len(item[0]), item[0]))
                first, last = len(words) - count, len(words)
                return [
                    Mention(self._values[n], first, last, len(prefix) / len(name)) for name, n in grown[:COMPLETIONS]
                ]
        return []
