"""Sparse, hashed features of a moment: what the trigger is a logistic regression over.

As in the triggering model of arXiv 1812.02903 (section 3.3): the person's past taps and impressions, the category, the
types of the entities named, the baseline score, hour and weekday; and, for a model small enough to travel, words of the
line and of the line before it.
A feature is a name; its index is the CRC-32 of that name modulo the number of buckets (Weinberger et al., "Feature
hashing for large scale multitask learning", 2009), so that no vocabulary has to be agreed on or shipped. Numbers are
cut into bins, one feature each, which lets a linear model follow any curve.

Everything comes from what the log holds: the dense features as they were, the category and entity types, the pieces of
the (redacted) text. A moment and its log entry therefore give the same row.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .catalog import MATCH_FEATURES
from .errors import BundleError

BIAS_ID = 0
"""Index of the bias: first in every row, with value 1. Padding is index 0 with value 0."""
SCORE_ID = 1
"""Index of the baseline score itself, second in every row; version 0 weighs nothing but these two."""
RESERVED = 2
"""Hashed features start here."""
SMALLEST_BUCKETS = 16

LINE_FEATURES = 24
"""Most pieces of the composed line, its newest."""
EARLIER_FEATURES = 24
"""Most pieces of the newest earlier line."""
ENTITY_TYPES = 4
"""Most types of entities in a query."""
HABIT_GROUP = ("category_impressions", "category_tap_habit", "overall_tap_habit")
_COUNTS = ("line_words", "earlier_lines")
_MATCH_NORM = 3.0
_WORD_NORM = 1.4
HASHED_FEATURES = (
    RESERVED + len(MATCH_FEATURES) + len(_COUNTS) + 1 + ENTITY_TYPES + 2 + 3 + LINE_FEATURES + EARLIER_FEATURES
)
"""Places of a row: bias, score, binned evidence, category, entity types, hour and weekday, habits, pieces."""


def bucket(name: str, buckets: int) -> int:
    """Index of a feature: ``RESERVED + CRC-32(UTF-8 name) mod (buckets - RESERVED)``.

    Part of every trained model: it must give the same index on every device, today and later.
    """
    return RESERVED + zlib.crc32(name.encode("utf-8", "surrogatepass")) % (buckets - RESERVED)


_known_bucket = lru_cache(maxsize=65536)(bucket)


class HashedFeatures:
    """Computes rows for one number of buckets.

    Args:
        buckets: size of the weight vector, the reserved indices included; a setting of the bundle.
        dense_names: names of the dense features in the order they come.
        pieces: the tokenizer's pieces by id, without the padding's.

    Raises:
        BundleError: too few buckets.
    """

    def __init__(self, buckets: int, dense_names: Sequence[str], pieces: tuple[str, ...]) -> None:
        if buckets < SMALLEST_BUCKETS:
            raise BundleError(f"{buckets} hash buckets are too few; a bundle needs at least {SMALLEST_BUCKETS}.")
        self.buckets = buckets
        column = {name: at for at, name in enumerate(dense_names)}
        self._match = [(name, column[name]) for name in MATCH_FEATURES]
        self._counts = [(name, column[name]) for name in _COUNTS]
        self._habits = [column[name] for name in HABIT_GROUP]
        self._hour = column["hour_sin"], column["hour_cos"]
        self._weekday = column["weekday_sin"], column["weekday_cos"]
        self._score = column["score"]
        self._line = _table("line", pieces, buckets)
        self._earlier = _table("earlier", pieces, buckets)

    def row(
        self,
        line_ids: NDArray[np.int32],
        earlier_ids: NDArray[np.int32],
        category: str,
        entity_types: Sequence[str],
        dense: NDArray[np.float32],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """One moment with one candidate.

        Args:
            line_ids: int32[any], pieces of the composed line, 0-padded.
            earlier_ids: int32[any], pieces of the newest earlier line, 0-padded.
            category: the candidate's.
            entity_types: the candidate's; the first :data:`ENTITY_TYPES` count.
            dense: float32[DENSE_FEATURES].

        Returns:
            indices int32[HASHED_FEATURES] and values float32[HASHED_FEATURES]; the logit of weights w is
            ``sum(w[indices] * values)``.
        """
        ids = np.zeros(HASHED_FEATURES, np.int32)
        values = np.zeros(HASHED_FEATURES, np.float32)
        ids[:RESERVED] = BIAS_ID, SCORE_ID
        values[:RESERVED] = 1.0, dense[self._score]
        at = RESERVED
        for group, norm in (
            (self._evidence(dense), _MATCH_NORM),
            *((group, 1.0) for group in self._rest(category, entity_types, dense)),
        ):
            found = [_known_bucket(name, self.buckets) for name in group]
            ids[at : at + len(found)] = found
            values[at : at + len(found)] = norm / math.sqrt(max(len(found), 1))
            at += len(found)
        for table, pieces, most in (
            (self._line, line_ids, LINE_FEATURES),
            (self._earlier, earlier_ids, EARLIER_FEATURES),
        ):
            words = np.unique(pieces[pieces > 0][-most:])
            if len(words):
                ids[at : at + len(words)] = table[words]
                values[at : at + len(words)] = _WORD_NORM / math.sqrt(len(words))
            at += len(words)
        return ids, values

    def _evidence(self, dense: NDArray[np.float32]) -> list[str]:
        tenths = [f"{name}={round(float(dense[at]) * 10)}" for name, at in self._match]
        counts = [f"{name}={min(round(math.expm1(float(dense[at]))), 15)}" for name, at in self._counts]
        return tenths + counts

    def _rest(self, category: str, entity_types: Sequence[str], dense: NDArray[np.float32]) -> tuple[list[str], ...]:
        hour = int(_turn(dense, self._hour) * 24 + 1e-3) % 24
        weekday = round(_turn(dense, self._weekday) * 7) % 7
        impressions, habit, overall = (max(-5, min(round(2 * float(dense[at])), 5)) for at in self._habits)
        return (
            [f"category={category}"],
            [f"entity type={name}" for name in dict.fromkeys(entity_types)][:ENTITY_TYPES],
            [f"hour={hour}", f"weekday={weekday}"],
            [
                f"category impressions={impressions}",
                f"category habit={impressions},{habit}",
                f"overall habit={overall}",
            ],
        )


def _turn(dense: NDArray[np.float32], columns: tuple[int, int]) -> float:
    """The share of a full turn, in [0, 1), that a sine and a cosine stand for."""
    sine, cosine = (float(dense[at]) for at in columns)
    return (math.atan2(sine, cosine) / (2 * math.pi)) % 1.0


@lru_cache(maxsize=8)
def _table(group: str, pieces: tuple[str, ...], buckets: int) -> NDArray[np.int32]:
    """Index of each piece in a group, int32[1 + pieces]; that of the padding is never read."""
    return np.array([0, *(bucket(f"{group} {piece}", buckets) for piece in pieces)], np.int32)
