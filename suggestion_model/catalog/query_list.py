"""A plain list of queries, searched by words: an inverted index in numpy arrays.

Two steps. First every query that shares words with the context gets the mass of the shared words over its own mass,
faded by the age of the line (the idf of BM25; queries are too short for its term frequencies to matter). Earlier lines
of a conversation do not change while a line is typed, so their part is kept. Then the best POOL queries are looked at
closely: split names ("san" without "francisco"), direction, kind of query, what the composed line adds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suggestion_model.catalog.language import Language
from suggestion_model.catalog.query_index import ListedQuery, QueryIndex, build_index, query_terms
from suggestion_model.catalog.reading import ANSWER_ROLE, Reader, Reading
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
from suggestion_model.catalog.vocabulary import Vocabulary
from suggestion_model.types import Candidate, Context

POOL = 64
"""Queries looked at closely."""
STOPWORD_POSTINGS = 50
"""Function words in more queries than this are not searched for."""
SPLIT_NAME = 0.3
"""Strength left to the commoner word of a name when the rarer one was not said."""
BARE_NUMBER = 0.3
"""Strength of "2 bedrooms" when only a 2 was said."""
COMMON, FEW = 0.5, 2000
"""Words in more than this share of all queries, and in more than a FEW, do not help to find any."""


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What earlier lines say; all arrays are read-only after construction."""

    before: Floats
    """[terms] strength, not faded."""
    faded: Floats
    """[terms] fading with age, and the stronger the oftener for words that fill queries."""
    role: Floats
    """[terms] -1..1, newest wins."""
    found: Floats
    """[queries] sum of mass x faded strength."""
    asks_role: float


class QueryList:
    """Candidates from a plain query list; a :class:`suggestion_model.types.CandidateSource`.

    ``candidates`` is a pure function of its context: what is kept between calls only saves time.
    """

    def __init__(self, index: QueryIndex, tables: Language) -> None:
        """Search ``index``, which :func:`suggestion_model.catalog.query_index.build_index` makes."""
        self._index = index
        self._words = Vocabulary(index.words)
        self._vocabulary = Vocabulary(index.terms)
        self._common = tables.common
        self._reader = Reader(tables, self._spelt)
        self._categories = [name.decode() for name in index.categories.tolist()]
        # Words that fill queries more often than they say of what kind a query is.
        self._fills = 2 * np.bincount(index.flat, index.slot, len(index.frequency)) > index.frequency
        self._longest = int(np.diff(index.starts).max(initial=0))
        self._earlier = functools.lru_cache(maxsize=4)(self._read_earlier)

    @classmethod
    def of(cls, queries: Iterable[ListedQuery], tables: Language, *, sensitive: bool = False) -> QueryList:
        """Index ``queries`` and search them."""
        return cls(build_index(queries, tables, sensitive=sensitive), tables)

    def __len__(self) -> int:
        """Number of queries that can be proposed."""
        return len(self._index.category)

    def holds(self, query: str) -> bool:
        """Whether ``query``, however it is cased, is one that can be proposed."""
        index = self._index
        known = [self._vocabulary.number(term) for term in query_terms(words(query), self._reader)]
        if not known or min(known) < 0:
            return False
        rarest = min(known, key=lambda term: int(index.frequency[term]))
        start, end = index.posting_starts[rarest], index.posting_starts[rarest + 1]
        folded = query.casefold()
        return any(index.query(number).casefold() == folded for number in index.postings[start:end].tolist())

    def _spelt(self, word: str, unfinished: bool) -> str:
        """``word`` as the list spells it, when it is no known word and a mistake away from one."""
        if word in self._words or (unfinished and len(self._words.beginning_with(word))):
            return word
        if self._reader.stem(word) in self._vocabulary:
            return word
        index = self._index
        nearest = self._words.nearest(word)
        if not nearest or word in self._common:
            return word
        best = min(nearest, key=lambda found: (found[0], -int(index.frequency[index.word_term[found[1]]]), found[1]))
        return self._words.word(best[1])

    # -- the context ----------------------------------------------------------------------------------------------

    def _terms(self, reading: Reading) -> dict[str, float]:
        """The reading's terms, and what its bare numbers may count in this list."""
        terms = dict(reading.terms)
        for digits in reading.numbers:
            for number in self._vocabulary.beginning_with(f"{digits} "):
                terms.setdefault(self._vocabulary.word(number), BARE_NUMBER)
        return terms

    def _known(self, terms: dict[str, float]) -> tuple[NDArray[np.int64], Floats]:
        numbered = ((self._vocabulary.number(term), strength) for term, strength in terms.items())
        found = [(number, strength) for number, strength in numbered if number >= 0]
        return np.array([term for term, _ in found], np.int64), np.array([s for _, s in found], np.float32)

    def _read_earlier(self, lines: tuple[str, ...]) -> _Earlier:
        size = len(self._vocabulary)
        before, faded, role = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        unheard, found = np.ones(size, np.float32), np.zeros(len(self), np.float32)
        asked = 0.0
        for position, line in enumerate(lines):
            reading = self._reader.read(line)
            weight = fading(len(lines) - position)
            terms, strengths = self._known(self._terms(reading))
            np.maximum.at(before, terms, strengths)
            np.maximum.at(faded, terms, strengths * np.float32(weight))
            np.multiply.at(unheard, terms, 1 - strengths * np.float32(weight))
            self._set_roles(role, reading, asked)
            asked = reading.asks_role
        heard = np.flatnonzero(faded)
        # A name that comes up again is what the talk is about; a kind of query said again is no wish for it.
        faded[heard] = np.where(self._fills[heard], 1 - unheard[heard], faded[heard])
        self._accumulate(found, heard, faded)
        return _Earlier(before, faded, role, found, asked)

    def _set_roles(self, role: Floats, reading: Reading, asked: float) -> None:
        for term in reading.said:
            number = self._vocabulary.number(term)
            if number >= 0:
                new = reading.roles.get(term, ANSWER_ROLE * asked)
                if new:
                    role[number] = new

    def _accumulate(self, found: Floats, terms: NDArray[np.int64], strength: Floats) -> None:
        """Add mass x strength of each term to the queries that hold it."""
        index = self._index
        too_common = max(COMMON * len(self), FEW)
        for term in terms.tolist():
            start, end = index.posting_starts[term], index.posting_starts[term + 1]
            if end - start > too_common or (index.stopped[term] and end - start > STOPWORD_POSTINGS):
                continue
            found[index.postings[start:end]] += index.mass[term] * strength[term]

    def _completions(self, prefix: str) -> dict[str, float]:
        """Terms that the word at the cursor may become, with strengths below SAID."""
        if len(prefix) < 2:
            return {}
        grown = self._words.beginning_with(prefix)
        if len(grown) > POOL:
            return {}
        share = min(1.0, 4 / max(len(grown), 1))
        terms: dict[str, float] = {}
        for number in grown:
            term = self._vocabulary.word(int(self._index.word_term[number]))
            terms[term] = max(terms.get(term, 0.0), 0.9 * share * len(prefix) / len(self._words.word(number)))
        return terms

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
        found *= self._index.weight
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
        index = self._index
        width = np.arange(self._longest)
        place = index.starts[pool][:, None] + width
        present = place < index.starts[pool + 1][:, None]
        place = np.where(present, place, 0)
        terms = index.flat[place]
        mass = np.where(present, index.mass[terms], 0)
        now_at = np.where(present, now[terms], 0)
        before_at = np.where(present, earlier.before[terms], 0)
        faded_at = np.where(present, earlier.faded[terms], 0)
        bound = index.bound[place] & present
        kept = _names_kept_whole(mass, np.maximum(now_at, before_at) > 0, bound)
        wanted_role = np.where(present, index.role[place], 0)
        role_at = role[terms]
        order = (wanted_role * np.clip(role_at / CLEAR_ROLE, -1, 1)).sum(axis=1)
        roles = np.abs(wanted_role).sum(axis=1)
        slot = index.slot[place] & present
        towards = (slot * np.clip(role_at, -1, 1)).sum(axis=1) / np.maximum((slot & (role_at != 0)).sum(axis=1), 1)
        order = np.where(roles > 0, order / np.maximum(roles, 1), TOWARDS * towards)
        said = [number for number in map(self._vocabulary.number, reading.said) if number >= 0]
        line_mass = float(index.mass[said].sum()) if said else 0.0
        is_said = np.zeros(len(now), bool)
        is_said[said] = True
        explained = (mass * is_said[terms] * present).sum(axis=1) / max(line_mass, 1e-6)
        name_mass, name_share = _names_as_one(mass, bound)
        return Evidence(
            mass=mass * name_mass,
            now=now_at * kept,
            before=before_at * kept,
            faded=faded_at * kept,
            slot=slot,
            content=~index.stopped[terms] & present,
            share=name_share,
            explained=np.minimum(explained, 1.0).astype(np.float32),
            order=np.clip(order, -1, 1).astype(np.float32),
            prior=index.prior[pool],
            asking=reading.asking,
        )

    def _candidate(self, number: int, value: float, features: list[float]) -> Candidate:
        index = self._index
        return Candidate(
            query=index.query(number),
            category=self._categories[index.category[number]],
            score=value,
            sensitive=bool(index.sensitive[number]),
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


def _names_as_one(mass: Floats, bound: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Factors [n, p] by which a name of several words counts as one: for the mass of each word, and for their number.

    Masses of a name add up as squares do: it tells more than its rarest word, and not as much as so many words.
    """
    begins = np.ones(mass.shape, np.bool_)
    begins[:, 1:] = ~bound[:, :-1]
    starts = np.flatnonzero(begins)
    name = np.cumsum(begins.ravel()) - 1
    flat = mass.ravel()
    together = np.sqrt(np.add.reduceat(flat * flat, starts))
    tells = together / np.maximum(np.add.reduceat(flat, starts), np.float32(1e-9))
    share = (1 / np.diff(starts, append=flat.size)).astype(np.float32)
    return tells[name].reshape(mass.shape), share[name].reshape(mass.shape)
