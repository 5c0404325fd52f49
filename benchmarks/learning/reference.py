"""The reference that every method is held against: plain BM25 over the query list, and nothing else.

Deliberately plain (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, equation 3.15, usual
constants): the words of the line being composed are the question, the queries are the documents, the best match is the
candidate whatever its score. No aliases, no earlier lines, no completion, no learning. It is not to be improved.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

from suggestion_model.types import Candidate, Context

K1 = 1.2
B = 0.75

_WORD = re.compile(r"\w+")


class PlainBm25:
    """A candidate source (:class:`suggestion_model.types.CandidateSource`) over (query, category) pairs."""

    def __init__(self, queries: list[tuple[str, str]]) -> None:
        self._queries = queries
        words = [_WORD.findall(query.casefold()) for query, _ in queries]
        mean_length = sum(map(len, words)) / max(len(words), 1)
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, found in enumerate(words):
            for word, count in Counter(found).items():
                saturated = count * (K1 + 1) / (count + K1 * (1 - B + B * len(found) / mean_length))
                self._postings[word].append((number, saturated))
        self._idf = {
            word: math.log(1 + (len(queries) - len(rows) + 0.5) / (len(rows) + 0.5))
            for word, rows in self._postings.items()
        }

    @classmethod
    def read(cls, path: Path) -> PlainBm25:
        """Read a ``query,category`` list, ``.csv`` or ``.csv.gz``."""
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text)))[1:]
        return cls([(row[0], row[1]) for row in rows if row])

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """The best matches of the composed line's words, best first; ties by position in the list."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(_WORD.findall(context.composed.casefold())):
            for number, saturated in self._postings.get(word, ()):
                scores[number] += self._idf[word] * saturated
        best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
        return [Candidate(*self._queries[number], scores[number]) for number in best]
