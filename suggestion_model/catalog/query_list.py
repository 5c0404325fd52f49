"""A plain list of queries, searched by words: an inverted index in numpy arrays.

Two steps. First every query that shares words with the context gets the mass of the shared words over its own mass,
faded by the age of the line (the idf of BM25; queries are too short for its term frequencies to matter). Earlier lines
of a conversation do not change while a line is typed, so their part is kept. Then the best POOL queries are looked at
closely: split names ("san" without "francisco"), direction, kind of query, what the composed line adds.
"""

from __future__ import annotations

import bisect
import functools
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suggestion_model.catalog.language import Language
from suggestion_model.catalog.reading import ANSWER_ROLE, Reader, Reading, counted
from suggestion_model.catalog.scoring import (
    CLEAR_ROLE,
    EARLIER_LINES,
    TOWARDS,
    Evidence,
    Floats,
    fading,
    score,
    set_margins,
)
from suggestion_model.catalog.text import words
from suggestion_model.types import Candidate, Context

POOL = 64
"""Queries looked at closely."""
KIND_SHARE = 0.12
"""A word says the kind from this (share of its category's queries) x (share of its queries in that category) on."""
STOPWORD_MASS = 0.2
"""Function words keep this share of their idf: they tell little, but some titles are made of them."""
LIGHT_MASS = 0.4
"""Words common in all talk keep this share, unless they say the kind."""
STOPWORD_POSTINGS = 50
"""Function words in more queries than this are not searched for."""
NAME_BOUND = 0.8
"""Neighbouring words form one name when one of them is followed, or preceded, by the other this often."""
SPLIT_NAME = 0.3
"""Strength left to the commoner word of a name when the rarer one was not said."""
BARE_NUMBER = 0.3
"""Strength of "2 bedrooms" when only a 2 was said."""
COMMON, FEW = 0.5, 2000
"""Words in more than this share of all queries, and in more than a FEW, do not help to find any."""


@dataclass(frozen=True, slots=True)
class ListedQuery:
    """One row of a query list."""

    query: str
    category: str
    prior: float | None = None
    """Relative frequency, >= 0; None when the list has none."""


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What earlier lines say; all arrays are read-only after construction."""

    before: Floats
    """[terms] strength, not faded."""
    faded: Floats
    """[terms]"""
    role: Floats
    """[terms] -1..1, newest wins."""
    found: Floats
    """[queries] sum of mass x faded strength."""
    asks_role: float


class QueryList:
    """Candidates from a plain query list; a :class:`suggestion_model.types.CandidateSource`.

    ``candidates`` is a pure function of its context: what is kept between calls only saves time.
    """

    def __init__(self, queries: Iterable[ListedQuery], tables: Language, *, sensitive: bool = False) -> None:
        """Index ``queries``; those on sensitive subjects only if ``sensitive``. Of equal queries the first is kept."""
        self._reader = Reader(tables)
        self._language = tables
        self._build(queries, sensitive)
        self._earlier = functools.lru_cache(maxsize=4)(self._read_earlier)

    def __len__(self) -> int:
        """Number of queries that can be proposed."""
        return len(self._prior)

    def holds(self, query: str) -> bool:
        """Whether ``query``, however it is cased, is one that can be proposed."""
        known = [self._vocabulary.get(term) for term in self._terms_of(words(query))]
        if not known or None in known:
            return False
        rarest = min((term for term in known if term is not None), key=lambda term: int(self._frequency[term]))
        start, end = self._posting_starts[rarest], self._posting_starts[rarest + 1]
        folded = query.casefold()
        return any(self._text(number).casefold() == folded for number in self._postings[start:end].tolist())

    # -- building -------------------------------------------------------------------------------------------------

    def _build(self, queries: Iterable[ListedQuery], sensitive: bool) -> None:
        tables = self._language
        vocabulary: dict[str, int] = {}
        stopped: list[bool] = []
        light: list[bool] = []
        categories: dict[str, int] = {}
        seen: set[str] = set()
        blob, offsets = bytearray(), array("i", [0])
        flat, starts, flat_roles = array("i"), array("i", [0]), array("b")
        query_category = array("i")
        query_sensitive: list[bool] = []
        priors: list[float | None] = []
        directions = tables.origin.keys() | tables.destination.keys()
        for row in queries:
            if row.query in seen:
                continue
            is_sensitive = tables.is_sensitive(row.query, row.category)
            if is_sensitive and not sensitive:
                continue
            seen.add(row.query)
            split = words(row.query)
            roles = self._reader.roles(split) if not directions.isdisjoint(split) else None
            used: set[int] = set()
            for position, (word, term) in enumerate(zip(split, self._terms_of(split), strict=True)):
                number = vocabulary.get(term)
                if number is None:
                    number = vocabulary[term] = len(vocabulary)
                    stopped.append(word in tables.stopwords)
                    light.append(word in tables.light)
                if number in used:
                    continue
                used.add(number)
                flat.append(number)
                role = roles[position] if roles else 0.0
                flat_roles.append(0 if abs(role) < CLEAR_ROLE else (1 if role > 0 else -1))
            starts.append(len(flat))
            blob += row.query.encode()
            offsets.append(len(blob))
            query_category.append(categories.setdefault(row.category, len(categories)))
            query_sensitive.append(is_sensitive)
            priors.append(row.prior)
        del seen
        self._blob, self._offsets = bytes(blob), np.array(offsets, np.int32)
        self._vocabulary, self._categories = vocabulary, list(categories)
        self._flat, self._starts = np.array(flat, np.int32), np.array(starts, np.int32)
        self._flat_role = np.array(flat_roles, np.int8)
        self._query_category = np.array(query_category, np.int32)
        self._query_sensitive = np.array(query_sensitive, bool)
        self._prior = _relative_priors(priors)
        self._stopped = np.array(stopped, bool)
        self._weigh(np.array(light, bool))
        self._counted: dict[str, list[str]] = {}
        for term in vocabulary:
            digits, space, _ = term.partition(" ")
            if space:
                self._counted.setdefault(digits, []).append(term)
        self._sorted_terms = sorted(term for term in vocabulary if term.isalpha())

    def _terms_of(self, split: list[str]) -> list[str]:
        """Terms of a query's words: stems, and a number together with what it counts."""
        stem = self._reader.stem
        following = [*split, ""][1:]
        return [
            counted(word, stem(after)) if word.isdigit() and after else stem(word)
            for word, after in zip(split, following, strict=True)
        ]

    def _weigh(self, light: NDArray[np.bool_]) -> None:
        """Masses, kind words, names and the inverted index, from the forward index; ``light`` [terms] common talk."""
        n, vocabulary_size = len(self._prior), len(self._vocabulary)
        owner = np.repeat(np.arange(n, dtype=np.int32), np.diff(self._starts))
        frequency = np.bincount(self._flat, minlength=vocabulary_size)
        self._frequency = frequency
        mass = np.log1p((n - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        mass = np.maximum(mass, 0.1)
        mass[self._stopped] *= STOPWORD_MASS
        # Kind words.
        kinds = len(self._categories)
        pair = self._query_category[owner].astype(np.int64) * vocabulary_size + self._flat
        pairs, counts = np.unique(pair, return_counts=True)
        sizes = np.maximum(np.bincount(self._query_category, minlength=kinds), 5)
        in_category = counts / sizes[pairs // vocabulary_size]
        of_term = counts / frequency[pairs % vocabulary_size]
        says_kind = pairs[in_category * of_term >= KIND_SHARE]
        light[says_kind % vocabulary_size] = False
        mass[light & ~self._stopped] *= LIGHT_MASS
        self._mass = mass
        self._total = np.maximum(np.bincount(owner, weights=mass[self._flat], minlength=n), 0.5).astype(np.float32)
        self._flat_slot = ~np.isin(pair, says_kind) & ~self._stopped[self._flat]
        # Names: neighbours that nearly always go together.
        inner = np.ones(len(self._flat), bool)
        inner[np.maximum(self._starts[1:] - 1, 0)] = False
        here = np.flatnonzero(inner[:-1]) if len(inner) > 1 else np.zeros(0, np.int64)
        here = here[self._flat_slot[here] & self._flat_slot[here + 1]]
        left, right = self._flat[here].astype(np.int64), self._flat[here + 1].astype(np.int64)
        _, which, together = np.unique(left * vocabulary_size + right, return_inverse=True, return_counts=True)
        bound = together[which] >= NAME_BOUND * np.minimum(frequency[left], frequency[right])
        self._flat_bound = np.zeros(len(self._flat), bool)
        self._flat_bound[here[bound]] = True
        # Inverted index.
        order = np.argsort(self._flat, kind="stable")
        self._postings = owner[order]
        self._posting_starts = np.concatenate([[0], np.cumsum(frequency)]).astype(np.int64)
        self._longest = int(np.diff(self._starts).max(initial=0))

    # -- the context ----------------------------------------------------------------------------------------------

    def _terms(self, reading: Reading) -> dict[str, float]:
        """The reading's terms, and what its bare numbers may count in this list."""
        terms = dict(reading.terms)
        for digits in reading.numbers:
            for term in self._counted.get(digits, ()):
                terms.setdefault(term, BARE_NUMBER)
        return terms

    def _known(self, terms: dict[str, float]) -> tuple[NDArray[np.int64], Floats]:
        vocabulary = self._vocabulary
        found = [(vocabulary[term], strength) for term, strength in terms.items() if term in vocabulary]
        return np.array([term for term, _ in found], np.int64), np.array([s for _, s in found], np.float32)

    def _read_earlier(self, lines: tuple[str, ...]) -> _Earlier:
        size = len(self._vocabulary)
        before, faded, role = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        found = np.zeros(len(self), np.float32)
        asked = 0.0
        for position, line in enumerate(lines):
            reading = self._reader.read(line)
            weight = fading(len(lines) - position)
            terms, strengths = self._known(self._terms(reading))
            np.maximum.at(before, terms, strengths)
            np.maximum.at(faded, terms, strengths * np.float32(weight))
            self._set_roles(role, reading, asked)
            asked = reading.asks_role
        self._accumulate(found, np.flatnonzero(faded), faded)
        return _Earlier(before, faded, role, found, asked)

    def _set_roles(self, role: Floats, reading: Reading, asked: float) -> None:
        for term in reading.said:
            number = self._vocabulary.get(term)
            if number is not None:
                new = reading.roles.get(term, ANSWER_ROLE * asked)
                if new:
                    role[number] = new

    def _accumulate(self, found: Floats, terms: NDArray[np.int64], strength: Floats) -> None:
        """Add mass x strength of each term to the queries that hold it."""
        too_common = max(COMMON * len(self), FEW)
        for term in terms.tolist():
            frequency = self._frequency[term]
            if frequency > too_common or (self._stopped[term] and frequency > STOPWORD_POSTINGS):
                continue
            start, end = self._posting_starts[term], self._posting_starts[term + 1]
            found[self._postings[start:end]] += self._mass[term] * strength[term]

    def _completions(self, prefix: str) -> dict[str, float]:
        """Terms that the word at the cursor may become, with strengths below SAID."""
        if len(prefix) < 2:
            return {}
        start = bisect.bisect_left(self._sorted_terms, prefix)
        end = bisect.bisect_left(self._sorted_terms, prefix + "\uffff", start)
        if end - start > POOL:
            return {}
        share = min(1.0, 4 / max(end - start, 1))
        return {term: 0.9 * share * len(prefix) / len(term) for term in self._sorted_terms[start:end]}

    # -- the face -------------------------------------------------------------------------------------------------

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """Queries that the context speaks for, best baseline score first; [] when nothing is being typed."""
        reading = self._reader.read(context.composed)
        if not reading.words or not len(self):
            return []
        earlier = self._earlier(tuple(context.earlier[-EARLIER_LINES:]))
        terms = self._terms(reading)
        for term, strength in self._completions(reading.open_word).items():
            terms[term] = max(strength, terms.get(term, 0.0))
        now = np.zeros(len(self._vocabulary), np.float32)
        known, strengths = self._known(terms)
        now[known] = strengths
        found = earlier.found.copy()
        self._accumulate(found, known, np.maximum(now - earlier.faded, 0))
        found /= self._total + 1.0
        pool = self._best(found)
        if not len(pool):
            return []
        role = earlier.role.copy()
        self._set_roles(role, reading, earlier.asks_role)
        scores, features = score(self._evidence(pool, reading, now, earlier, role))
        order = np.lexsort((pool, -scores))[:limit]
        order = order[scores[order] > 0]
        chosen = features[order]
        set_margins(chosen)
        return [
            self._candidate(int(pool[place]), float(scores[place]), row)
            for place, row in zip(order.tolist(), chosen.tolist(), strict=True)
        ]

    def _best(self, found: Floats) -> NDArray[np.int64]:
        """The POOL best queries; ties by position, so that the answer never depends on anything else."""
        hits = np.flatnonzero(found > 0)
        if len(hits) > POOL:
            values = found[hits]
            least = np.partition(values, len(values) - POOL)[len(values) - POOL]
            hits = np.concatenate([hits[values > least], hits[values == least]])[:POOL]
        return hits

    def _evidence(
        self, pool: NDArray[np.int64], reading: Reading, now: Floats, earlier: _Earlier, role: Floats
    ) -> Evidence:
        width = np.arange(self._longest)
        place = self._starts[pool][:, None] + width
        present = place < self._starts[pool + 1][:, None]
        place = np.where(present, place, 0)
        terms = self._flat[place]
        mass = np.where(present, self._mass[terms], 0)
        now_at = np.where(present, now[terms], 0)
        before_at = np.where(present, earlier.before[terms], 0)
        faded_at = np.where(present, earlier.faded[terms], 0)
        bound = self._flat_bound[place] & present
        kept = _names_kept_whole(mass, np.maximum(now_at, before_at) > 0, bound)
        wanted_role = np.where(present, self._flat_role[place], 0)
        role_at = role[terms]
        order = (wanted_role * np.clip(role_at / CLEAR_ROLE, -1, 1)).sum(axis=1)
        roles = np.abs(wanted_role).sum(axis=1)
        slot = self._flat_slot[place] & present
        towards = (slot * np.clip(role_at, -1, 1)).sum(axis=1) / np.maximum((slot & (role_at != 0)).sum(axis=1), 1)
        order = np.where(roles > 0, order / np.maximum(roles, 1), TOWARDS * towards)
        said = [self._vocabulary[term] for term in reading.said if term in self._vocabulary]
        line_mass = float(self._mass[said].sum()) if said else 0.0
        is_said = np.zeros(len(now), bool)
        is_said[said] = True
        explained = (mass * is_said[terms] * present).sum(axis=1) / max(line_mass, 1e-6)
        return Evidence(
            mass=mass,
            now=now_at * kept,
            before=before_at * kept,
            faded=faded_at * kept,
            slot=slot,
            content=~self._stopped[terms] & present,
            explained=np.minimum(explained, 1.0).astype(np.float32),
            order=np.clip(order, -1, 1).astype(np.float32),
            prior=self._prior[pool],
            asking=reading.asking,
        )

    def _text(self, number: int) -> str:
        return self._blob[self._offsets[number] : self._offsets[number + 1]].decode()

    def _candidate(self, number: int, value: float, features: list[float]) -> Candidate:
        return Candidate(
            query=self._text(number),
            category=self._categories[self._query_category[number]],
            score=value,
            sensitive=bool(self._query_sensitive[number]),
            features=tuple(features),
        )


def _names_kept_whole(mass: Floats, said: NDArray[np.bool_], bound: NDArray[np.bool_]) -> Floats:
    """Factor [n, p] for each word: SPLIT_NAME where it was said but a rarer word of the same name was not."""
    kept = np.ones_like(mass)
    left, right = slice(None, -1), slice(1, None)
    tied = bound[:, left]
    kept[:, left][tied & said[:, left] & ~said[:, right] & (mass[:, right] > mass[:, left])] = SPLIT_NAME
    kept[:, right][tied & said[:, right] & ~said[:, left] & (mass[:, left] > mass[:, right])] = SPLIT_NAME
    return kept


def _relative_priors(priors: list[float | None]) -> Floats:
    """Priors on a log scale in [0, 1]; 0.5 where the list has none."""
    known = [prior for prior in priors if prior is not None]
    top = np.log1p(max(known, default=0.0))
    values = [0.5 if prior is None else (float(np.log1p(prior) / top) if top > 0 else 0.5) for prior in priors]
    return np.array(values, np.float32)
