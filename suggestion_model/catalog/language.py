"""Everything the matcher knows about a language, read from ``languages/<code>.json``; code stays language-neutral."""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.text import Endings, stem, words
from suggestion_model.catalog.vocabulary import Vocabulary, sorted_words


@dataclass(frozen=True, slots=True)
class Language:
    """Word tables of one language. All sets and keys hold folded words, stems where named so."""

    code: str
    stopwords: frozenset[str]
    """Function words: they carry little of what a query is about."""
    light: frozenset[str]
    """Words so common in talk that meeting them says little, even where a name is made of them."""
    wanting: frozenset[str]
    """Words of wishing, asking and looking for."""
    closing: frozenset[str]
    """Words that agree, thank or end."""
    questions: frozenset[str]
    """Words that open a question."""
    origin: Mapping[str, float]
    """Words after which a place of departure follows, with the strength of that evidence in (0, 1]."""
    destination: Mapping[str, float]
    """The same for the place where one is going."""
    place_cues: frozenset[str]
    """Words after which a name is probably a place."""
    place_questions: frozenset[str]
    """Words of a question that asks for a place."""
    aliases: Mapping[tuple[str, ...], tuple[str, ...]]
    """Word sequence -> the word sequence it also stands for."""
    concepts: Mapping[str, tuple[str, ...]]
    """Stem -> stems it suggests, more weakly than if they had been said."""
    suffixes: Endings
    endings: Endings
    undoubled: str
    """Letters that are doubled before a suffix."""
    sensitive_categories: frozenset[str]
    sensitive_phrases: tuple[str, ...]
    """Folded phrases that mark a query as sensitive, whatever its category is called."""
    sensitive_openings: frozenset[str]
    """First words of those phrases."""
    longest_alias: int

    @property
    def function_words(self) -> frozenset[str]:
        """Words that carry no subject: function words and those that close."""
        return self.stopwords | self.closing

    def stem(self, word: str) -> str:
        """Stem of one folded word."""
        return stem(word, self.suffixes, self.endings, self.undoubled)

    def is_sensitive(self, query: list[str], category: str) -> bool:
        """True when a query is about health, sexuality, religion, finance or crisis, by category name or phrase.

        Args:
            query: its folded words.
            category: its category's name.
        """
        if not self.sensitive_categories.isdisjoint(words(category)):
            return True
        if self.sensitive_openings.isdisjoint(query):
            return False
        spaced = f" {' '.join(query)} "
        return any(f" {phrase} " in spaced for phrase in self.sensitive_phrases)

    @property
    def common(self) -> Vocabulary:
        """Everyday words: no mistakes, whatever a catalog holds."""
        return _common_words(self.code)


@functools.cache
def _common_words(code: str) -> Vocabulary:
    file = importlib.resources.files("suggestion_model.catalog").joinpath("languages", f"{code}.words.txt.gz")
    return Vocabulary(sorted_words(gzip.decompress(file.read_bytes()).decode().split()))


@functools.cache
def language(code: str = "en") -> Language:
    """Load the tables of a language.

    Raises:
        CatalogError: there is no such table; add ``languages/<code>.json``.
    """
    file = importlib.resources.files("suggestion_model.catalog").joinpath("languages", f"{code}.json")
    if not file.is_file():
        raise CatalogError(f"no word tables for language {code!r}: add suggestion_model/catalog/languages/{code}.json")
    raw = json.loads(file.read_text(encoding="utf-8"))
    suffixes = tuple((str(a), str(b), int(c)) for a, b, c in raw["suffixes"])
    endings = tuple((str(a), str(b), int(c)) for a, b, c in raw["endings"])

    def cut(word: str) -> str:
        return stem(word, suffixes, endings, raw["undoubled"])

    concepts: dict[str, dict[str, None]] = {}
    for concept in raw["concepts"]:
        for word in concept["when"].split():
            concepts.setdefault(cut(word), {}).update((cut(target), None) for target in concept["means"].split())
    phrases = tuple(" ".join(words(phrase)) for phrase in raw["sensitive_phrases"])
    aliases = {tuple(words(said)): tuple(words(meant)) for said, meant in raw["aliases"].items()}
    return Language(
        code=code,
        stopwords=frozenset(raw["stopwords"].split()),
        light=frozenset(raw["light"].split()),
        wanting=frozenset(raw["wanting"].split()),
        closing=frozenset(raw["closing"].split()),
        questions=frozenset(raw["questions"].split()),
        origin=dict(raw["origin"]),
        destination=dict(raw["destination"]),
        place_cues=frozenset(raw["place_cues"].split()),
        place_questions=frozenset(raw["place_questions"].split()),
        aliases=aliases,
        concepts={said: tuple(target for target in means if target != said) for said, means in concepts.items()},
        suffixes=suffixes,
        endings=endings,
        undoubled=raw["undoubled"],
        sensitive_categories=frozenset(raw["sensitive_categories"].split()),
        sensitive_phrases=phrases,
        sensitive_openings=frozenset(phrase.partition(" ")[0] for phrase in phrases),
        longest_alias=max(map(len, aliases)),
    )
