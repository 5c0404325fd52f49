"""Reading a line: which terms it puts in evidence, how strongly, and in which role (coming from, going to)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from suggestion_model.catalog.language import Language
from suggestion_model.catalog.text import ends_inside_word, words

SAID = 1.0
"""Strength of a word that was said, or whose alias was."""
SUGGESTED = 0.5
"""Strength of a word that only a related word speaks for."""
ROLE_REACH = 6
"""A direction word speaks for this many words after it, or until the next direction word."""
ANSWER_ROLE = 0.7
"""Role strength of a place that answers a question about that role."""
CLEARLY = 2.5
"""A question asks for one role when its words speak for it this much more than for the other."""
CACHED_LINES = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """One line, read without any catalog. Terms are stems."""

    words: tuple[str, ...]
    """Folded words, mistakes of typing mended where the catalog knows better."""
    terms: Mapping[str, float]
    """Term -> strength in (0, 1]: said, meant by an alias, or suggested by a related word."""
    said: frozenset[str]
    """Terms whose strength is SAID."""
    numbers: frozenset[str]
    """Numbers that count nothing that is named. Others make a term with what they count, see :func:`counted`."""
    roles: Mapping[str, float]
    """Term -> role in [-1, 1]: -1 coming from it, +1 going to it."""
    word_roles: tuple[float, ...]
    """The same for each word as typed, 0 where nothing says."""
    asks_role: float
    """Role that an answer to this line fills, in [-1, 1]; 0 when it asks for none or both."""
    asks_place: bool
    """Whether it asks for a place."""
    asking: float
    """-1 a line that closes, +1 a line that wants something."""
    open_word: str
    """The last word when the cursor may still be inside it, else empty."""


class Reader:
    """Reads lines of one language; remembers the last few so that earlier lines cost nothing."""

    def __init__(self, tables: Language, spelt: Callable[[str, bool], str] | None = None) -> None:
        """Read with the tables of a language.

        Args:
            tables: of the language.
            spelt: given a folded word, and whether the cursor may still be inside it, the word that was meant.
        """
        self.language = tables
        self._spelt = spelt
        self.read = functools.lru_cache(maxsize=CACHED_LINES)(self._read)
        self._stem = functools.lru_cache(maxsize=8192)(tables.stem)

    def stem(self, word: str) -> str:
        """Stem of one folded word, remembered."""
        return self._stem(word)

    def _read(self, line: str) -> Reading:
        tables, stem = self.language, self._stem
        typed = words(line)
        open_word = typed[-1] if typed and ends_inside_word(line) else ""
        if self._spelt is not None:
            last = len(typed) - 1
            typed = [self._spelt(word, bool(open_word) and place == last) for place, word in enumerate(typed)]
        stems = [stem(word) for word in typed]
        terms = dict.fromkeys(stems, SAID)
        role_at = self.roles(typed)
        roles: dict[str, float] = {}
        for term, role in zip(stems, role_at, strict=True):
            if role:
                roles[term] = role
        self._add_aliases(typed, role_at, terms, roles)
        self._add_counts(typed, terms)
        said = frozenset(terms)
        for term in said:
            for target in tables.concepts.get(term, ()):
                terms.setdefault(target, SUGGESTED)
        return Reading(
            words=tuple(typed),
            terms=terms,
            said=said,
            numbers=self._bare_numbers(typed),
            roles=roles,
            word_roles=tuple(role_at),
            asks_role=self._asks_role(line, typed),
            asks_place="?" in line and not tables.place_questions.isdisjoint(typed),
            asking=self._asking(line, typed),
            open_word=open_word,
        )

    def _add_aliases(
        self,
        typed: list[str],
        role_at: list[float],
        terms: dict[str, float],
        roles: dict[str, float],
    ) -> None:
        """Add what word sequences also stand for, in the role of the sequence."""
        tables, stem = self.language, self._stem
        for start in range(len(typed)):
            for length in range(1, min(tables.longest_alias, len(typed) - start) + 1):
                meant = tables.aliases.get(tuple(typed[start : start + length]))
                if meant is None:
                    continue
                targets = [stem(word) for word in meant]
                for target in targets:
                    terms[target] = SAID
                    if role_at[start]:
                        roles[target] = role_at[start]

    def _bare_numbers(self, typed: list[str]) -> frozenset[str]:
        aliases, stopwords = self.language.aliases, self.language.stopwords
        digits = [word if word.isdigit() else "".join(aliases.get((word,), ())) for word in typed]
        following = [*typed, ""][1:]
        return frozenset(
            number
            for number, after in zip(digits, following, strict=True)
            if number.isdigit() and (not after or after in stopwords)
        )

    def _add_counts(self, typed: list[str], terms: dict[str, float]) -> None:
        """Add ``"2 bedroom"`` for a number and the word it counts, spelt out or not, inflected or not."""
        aliases, stem = self.language.aliases, self._stem
        for number, thing in itertools.pairwise(typed):
            digits = number if number.isdigit() else "".join(aliases.get((number,), ()))
            if digits.isdigit():
                terms[counted(digits, stem(thing))] = SAID
                for meant in aliases.get((thing,), ()):
                    terms[counted(digits, stem(meant))] = SAID

    def roles(self, typed: list[str]) -> list[float]:
        """Role of each word, [n]: the last direction word before it decides, near ones more than far ones."""
        origin, destination = self.language.origin, self.language.destination
        found: list[float] = []
        role, reach = 0.0, 0
        for word in typed:
            cue = destination.get(word, 0.0) - origin.get(word, 0.0)
            if cue:
                # "leaving for", "going from": the word next to the place decides when it is the stronger one.
                if reach < ROLE_REACH or abs(cue) >= abs(role) or cue * role > 0:
                    role = cue
                reach = ROLE_REACH
                found.append(0.0)
                continue
            found.append(role if reach > 0 else 0.0)
            reach -= 1
            if reach <= 0:
                role = 0.0
        return found

    def _asks_role(self, line: str, typed: list[str]) -> float:
        """Whether a question asks where from (-1) or where to (+1)."""
        if "?" not in line and not (typed and typed[0] in self.language.questions):
            return 0.0
        origin = sum(self.language.origin.get(word, 0.0) for word in set(typed))
        destination = sum(self.language.destination.get(word, 0.0) for word in set(typed))
        if origin > CLEARLY * destination:
            return -1.0
        if destination > CLEARLY * origin:
            return 1.0
        return 0.0

    def _asking(self, line: str, typed: list[str]) -> float:
        wanting = sum(word in self.language.wanting for word in typed)
        closing = sum(word in self.language.closing for word in typed)
        question = "?" in line or bool(typed and typed[0] in self.language.questions)
        return max(-1.0, min(1.0, (wanting + question - closing) / 2))


def counted(number: str, thing: str) -> str:
    """The term for a number of things, both as stems: ``"2 bedroom"``."""
    return f"{number} {thing}"
