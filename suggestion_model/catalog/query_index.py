"""The index of a query list: numpy arrays, made once, kept in one file that is mapped into memory.

Words are inverted to the queries that hold them; every place of a word in a query knows whether it says what kind of
query it is, whether it is bound to its neighbour as one name, and whether it stands in the role of from or to.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suggestion_model.catalog.language import Language
from suggestion_model.catalog.reading import Reader, counted
from suggestion_model.catalog.scoring import CLEAR_ROLE, Floats
from suggestion_model.catalog.text import words
from suggestion_model.catalog.vocabulary import Bytes, sorted_words

KIND_SHARE = 0.12
"""A word says the kind from this (share of its category's queries) x (share of its queries in that category) on."""
STOPWORD_MASS = 0.2
"""Function words keep this share of their idf: they tell little, but some titles are made of them."""
LIGHT_MASS = 0.4
"""Words common in all talk keep this share, unless they say the kind."""
NAME_BOUND = 0.8
"""Neighbouring words form one name when one of them is followed, or preceded, by the other this often."""

_MAGIC = b"suggestion-index/1\n"
_ALIGNED = 64

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ListedQuery:
    """One row of a query list."""

    query: str
    category: str
    prior: float | None = None
    """Relative frequency, >= 0; None when the list has none."""


@dataclass(frozen=True, slots=True)
class QueryIndex:
    """n queries of t terms (stems) in p places, from w words; all arrays are read-only."""

    categories: Bytes
    """[categories] names, UTF-8."""
    text: NDArray[np.uint8]
    """Queries one after the other, UTF-8."""
    offsets: Ints
    """[n + 1] where each query's text begins."""
    category: Ints
    """[n]"""
    sensitive: Bools
    """[n]"""
    prior: Floats
    """[n] 0..1, 0.5 where the list has none."""
    weight: Floats
    """[n] one over the query's mass and a little more."""
    words: Bytes
    """[w] words of letters as they stand in queries, folded, sorted."""
    word_term: Ints
    """[w] term of each."""
    terms: Bytes
    """[t] sorted."""
    frequency: Ints
    """[t] queries that hold the term."""
    mass: Floats
    """[t] how much it tells."""
    stopped: Bools
    """[t] True for function words."""
    starts: Ints
    """[n + 1] where each query's places begin."""
    flat: Ints
    """[p] term."""
    role: NDArray[np.int8]
    """[p] -1 after "from", +1 after "to", else 0."""
    slot: Bools
    """[p] True for words that fill the query, False for kind and function words."""
    bound: Bools
    """[p] True where the word forms one name with the next."""
    posting_starts: Ints
    """[t + 1]"""
    postings: Ints
    """[p] queries by term."""

    def query(self, number: int) -> str:
        """Text of a query."""
        return bytes(self.text[self.offsets[number] : self.offsets[number + 1]]).decode()


def query_terms(split: list[str], reader: Reader) -> list[str]:
    """Terms of a query's words: stems, and a number together with what it counts."""
    following = [*split, ""][1:]
    return [
        counted(word, reader.stem(after)) if word.isdigit() and after else reader.stem(word)
        for word, after in zip(split, following, strict=True)
    ]


def build_index(queries: Iterable[ListedQuery], tables: Language, *, sensitive: bool = False) -> QueryIndex:
    """Index ``queries``; those on sensitive subjects only if ``sensitive``. Of equal queries the first is kept."""
    reader = Reader(tables)
    vocabulary: dict[str, int] = {}
    categories: dict[str, int] = {}
    seen: set[str] = set()
    spelt: dict[str, int] = {}
    stopped, light = bytearray(), bytearray()
    text, offsets = bytearray(), array("i", [0])
    flat, starts, roles = array("i"), array("i", [0]), array("b")
    category, marked, priors = array("i"), bytearray(), array("d")
    directions = tables.origin.keys() | tables.destination.keys()
    for row in queries:
        if row.query in seen:
            continue
        split = words(row.query)
        is_sensitive = tables.is_sensitive(split, row.category)
        if is_sensitive and not sensitive:
            continue
        seen.add(row.query)
        role_at = reader.roles(split) if not directions.isdisjoint(split) else None
        used: set[int] = set()
        for position, (word, term) in enumerate(zip(split, query_terms(split, reader), strict=True)):
            number = vocabulary.get(term)
            if number is None:
                number = vocabulary[term] = len(vocabulary)
                stopped.append(word in tables.stopwords)
                light.append(word in tables.light)
            if word.isalpha():
                spelt[word] = number
            if number in used:
                continue
            used.add(number)
            flat.append(number)
            role = role_at[position] if role_at else 0.0
            roles.append(0 if abs(role) < CLEAR_ROLE else (1 if role > 0 else -1))
        starts.append(len(flat))
        text += row.query.encode()
        offsets.append(len(text))
        category.append(categories.setdefault(row.category, len(categories)))
        marked.append(is_sensitive)
        priors.append(-1.0 if row.prior is None else row.prior)
    del seen
    terms = np.array([term.encode() for term in vocabulary] or [b""], dtype=np.bytes_)[: len(vocabulary)]
    order = np.argsort(terms, kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    spellings = sorted_words(spelt)[: len(spelt)]
    return _weighed(
        tables_light=np.frombuffer(light, np.bool_)[order],
        categories=np.array([name.encode() for name in categories] or [b""], dtype=np.bytes_),
        text=np.frombuffer(bytes(text), np.uint8),
        offsets=np.array(offsets, np.int32),
        category=np.array(category, np.int32),
        sensitive=np.array(marked, np.bool_),
        prior=_relative_priors(np.array(priors)),
        words=spellings,
        word_term=rank[np.array([spelt[word.decode()] for word in spellings.tolist()], np.int64)],
        terms=terms[order],
        stopped=np.frombuffer(stopped, np.bool_)[order],
        starts=np.array(starts, np.int32),
        flat=rank[np.array(flat, np.int64)],
        role=np.array(roles, np.int8),
    )


def _weighed(tables_light: Bools, **found: Any) -> QueryIndex:
    """The whole index: masses, kind words, names and the inverted index from the forward index."""
    flat, starts, category = found["flat"], found["starts"], found["category"]
    n, size = len(category), len(found["terms"])
    owner = np.repeat(np.arange(n, dtype=np.int32), np.diff(starts))
    frequency = np.bincount(flat, minlength=size)
    mass = np.maximum(np.log1p((n - frequency + 0.5) / (frequency + 0.5)), 0.1)
    mass[found["stopped"]] *= STOPWORD_MASS
    # Kind words.
    pair = category[owner].astype(np.int64) * size + flat
    pairs, counts = np.unique(pair, return_counts=True)
    sizes = np.maximum(np.bincount(category, minlength=len(found["categories"])), 5)
    says_kind = pairs[
        (counts / sizes[pairs // max(size, 1)]) * (counts / frequency[pairs % max(size, 1)]) >= KIND_SHARE
    ]
    light = tables_light.copy()
    light[says_kind % max(size, 1)] = False
    mass[light & ~found["stopped"]] *= LIGHT_MASS
    total = np.maximum(np.bincount(owner, weights=mass[flat], minlength=n), 0.5)
    slot = ~np.isin(pair, says_kind) & ~found["stopped"][flat]
    # Names: neighbours that nearly always go together.
    inner = np.ones(len(flat), np.bool_)
    inner[np.maximum(starts[1:] - 1, 0)] = False
    here = np.flatnonzero(inner[:-1])
    here = here[slot[here] & slot[here + 1]]
    left, right = flat[here].astype(np.int64), flat[here + 1].astype(np.int64)
    _, which, together = np.unique(left * size + right, return_inverse=True, return_counts=True)
    bound = np.zeros(len(flat), np.bool_)
    bound[here[together[which] >= NAME_BOUND * np.minimum(frequency[left], frequency[right])]] = True
    return QueryIndex(
        **found,
        weight=(1 / (total + 1.0)).astype(np.float32),
        frequency=frequency.astype(np.int32),
        mass=mass.astype(np.float32),
        slot=slot,
        bound=bound,
        posting_starts=np.concatenate([[0], np.cumsum(frequency)]).astype(np.int32),
        postings=owner[np.argsort(flat, kind="stable")],
    )


def _relative_priors(priors: NDArray[np.float64]) -> Floats:
    """Priors on a log scale in [0, 1]; 0.5 where the list has none, given as -1."""
    top = np.log1p(max(priors.max(initial=0.0), 0.0))
    if top <= 0:
        return np.full(len(priors), 0.5, np.float32)
    return np.where(priors < 0, 0.5, np.log1p(np.maximum(priors, 0)) / top).astype(np.float32)


# -- the file ---------------------------------------------------------------------------------------------------------


def save_index(index: QueryIndex, path: Path) -> None:
    """Write ``index`` to one file, at once or not at all: magic, header length, header, arrays on 64-byte borders."""
    arrays = {field.name: np.ascontiguousarray(getattr(index, field.name)) for field in fields(QueryIndex)}
    layout, position = {}, 0
    for name, values in arrays.items():
        layout[name] = (values.dtype.str, values.shape[0], position)
        position += -(-values.nbytes // _ALIGNED) * _ALIGNED
    body = bytearray(position)
    for name, values in arrays.items():
        body[layout[name][2] : layout[name][2] + values.nbytes] = values.tobytes()
    header = json.dumps({"arrays": layout, "bytes": position, "crc32": zlib.crc32(body)}).encode()
    opening = _MAGIC + len(header).to_bytes(8, "little") + header
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(opening + bytes(-len(opening) % _ALIGNED))
        file.write(body)
    os.replace(file.name, path)


def load_index(path: Path) -> QueryIndex | None:
    """Map the index in ``path`` into memory; None when it is absent, damaged or of another version."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            length = int.from_bytes(file.read(8), "little")
            if length > 65_536:
                return None
            header = json.loads(file.read(length))
            start = -(-file.tell() // _ALIGNED) * _ALIGNED
            file.seek(start)
            check = 0
            while chunk := file.read(1 << 20):
                check = zlib.crc32(chunk, check)
        if check != header["crc32"] or set(header["arrays"]) != {field.name for field in fields(QueryIndex)}:
            return None
        body = np.asarray(np.memmap(path, np.uint8, "r", offset=start, shape=(header["bytes"],)))
        return QueryIndex(
            **{
                name: body[at : at + np.dtype(kind).itemsize * count].view(kind)
                for name, (kind, count, at) in header["arrays"].items()
            }
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
