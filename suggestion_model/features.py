"""What the ranker sees of a moment: the one place that computes it, for the next key press and for training alike.

A moment becomes two rows of piece ids (the context, the candidate) and one row of dense features, and for the trigger
one of sparse, hashed features (:mod:`.hashed_features`) that follows from these. The log keeps the dense features as
they were, the category, the entity types and the redacted text; :meth:`Featurizer.example` makes a training example
from that.

The ranker that everybody trains together is told nothing of its owner's habits (:func:`to_a_stranger`): what a device
knows of its owner comes on top, on the device alone (:mod:`.personalization`). The trigger sees the habits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from data_logging.records import Impression, LoggedImpression, Outcome

from .bundle import Bundle
from .catalog import MATCH_FEATURES
from .earlier_matches import MATCH_HISTORY, match_history
from .errors import BundleError
from .hashed_features import HashedFeatures
from .tokenizer import Tokenizer
from .types import Candidate, Context, Example, RankerInputs

LINE_TOKENS = 32
"""Pieces of the line being composed, its newest kept; the first part of a context row."""
EARLIER_TOKENS = 32
"""Pieces of the newest earlier line of the conversation; the second part of a context row."""
CONTEXT_TOKENS = LINE_TOKENS + EARLIER_TOKENS
CANDIDATE_TOKENS = 16

HABIT_FEATURES = (
    "category_tap_habit",
    "category_impressions",
    "overall_tap_habit",
)
"""Of the owner: the log keeps them, the trigger sees them, the ranker does not."""
MOMENT_FEATURES = (
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "line_words",
    "line_is_question",
    "earlier_lines",
    "earlier_is_question",
)
DENSE_NAMES: tuple[str, ...] = (*MATCH_FEATURES, *HABIT_FEATURES, *MOMENT_FEATURES, *MATCH_HISTORY)
"""Names of the dense features in order; the matcher's evidence comes first, and its first is the baseline score."""
BASELINE_INDEX = DENSE_NAMES.index("score")
DENSE_FEATURES = len(DENSE_NAMES)
LOGGED_LENGTHS = (DENSE_FEATURES - len(MATCH_HISTORY), DENSE_FEATURES)
"""How many features a row of the log may hold: rows from before the last group was computed lack it."""
_HABITS = slice(DENSE_NAMES.index(HABIT_FEATURES[0]), DENSE_NAMES.index(HABIT_FEATURES[-1]) + 1)

MAX_EXAMPLE_WEIGHT = 4.0
"""Inverse propensities are clipped here: explored offers say what lies below the threshold, but they are few."""

_RESOLVED = frozenset({Outcome.TAPPED, Outcome.DISMISSED, Outcome.IGNORED})
_NO_EVIDENCE = (0.0,) * len(MATCH_FEATURES)
"""Stands in for a source that gives a score and nothing else."""
_HABIT_PRIOR_RATE = 0.1
_HABIT_PRIOR_IMPRESSIONS = 5.0


@dataclass(slots=True)
class Habits:
    """How often one person tapped what they were offered, by category, with forgetting.

    Counts decay by half every ``half_life_days``. Kept on the device, rebuilt from its log by :meth:`from_log`.
    """

    half_life_days: float = 7.0
    _decayed: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """category -> (taps, impressions, Unix time they are valid at); "" holds all categories together."""

    @classmethod
    def from_log(cls, logged: Iterable[LoggedImpression], half_life_days: float = 7.0) -> Habits:
        """Rebuild from logged impressions, oldest first; only resolved offers count."""
        habits = cls(half_life_days)
        for entry in logged:
            if entry.impression.shown and entry.outcome in _RESOLVED:
                habits.observe(entry.impression.category, entry.outcome is Outcome.TAPPED, entry.impression.created_at)
        return habits

    def observe(self, category: str, tapped: bool, at: float) -> None:
        """Count one resolved offer made at Unix time ``at`` in seconds."""
        for key in (category, ""):
            taps, impressions = self.counts(key, at)
            self._decayed[key] = (taps + float(tapped), impressions + 1.0, at)

    def counts(self, category: str, at: float) -> tuple[float, float]:
        """Decayed (taps, impressions) of ``category`` at Unix time ``at``; "" for all categories together."""
        taps, impressions, since = self._decayed.get(category, (0.0, 0.0, at))
        keep = 0.5 ** (max(at - since, 0.0) / (self.half_life_days * 86400.0))
        return taps * keep, impressions * keep

    def tap_habit(self, category: str, at: float) -> float:
        """Log of the smoothed tap rate over its prior; 0 without history, positive for a taste."""
        taps, impressions = self.counts(category, at)
        rate = (taps + _HABIT_PRIOR_RATE * _HABIT_PRIOR_IMPRESSIONS) / (impressions + _HABIT_PRIOR_IMPRESSIONS)
        return math.log(rate / _HABIT_PRIOR_RATE)


def context_text(context: Context) -> str:
    """The context as the log holds it (before redaction): earlier lines oldest first, then the line, one a row."""
    return "\n".join([" ".join(line.split()) for line in (*context.earlier, context.composed)])


def context_of(text: str) -> Context:
    """Invert :func:`context_text`."""
    *earlier, composed = text.split("\n")
    return Context(composed, tuple(earlier))


def dense_rows(
    context: Context, candidates: Sequence[Candidate], habits: Habits, when: datetime
) -> NDArray[np.float32]:
    """Dense features of n candidates in one moment, float32[n, DENSE_FEATURES]; see :meth:`Featurizer.inputs`."""
    dense = np.zeros((len(candidates), DENSE_FEATURES), np.float32)
    moment = _moment(context, when)
    at = when.timestamp()
    overall = habits.tap_habit("", at)
    for row, candidate in enumerate(candidates):
        dense[row] = (
            *(candidate.features or _NO_EVIDENCE),
            habits.tap_habit(candidate.category, at),
            math.log1p(habits.counts(candidate.category, at)[1]),
            overall,
            *moment,
            *match_history(candidate, context.matches),
        )
        dense[row, BASELINE_INDEX] = candidate.score
    return dense


def is_labelled(logged: LoggedImpression) -> bool:
    """Whether an entry of the log can be learned from: shown, resolved, and with features that this version knows."""
    impression = logged.impression
    return impression.shown and logged.outcome in _RESOLVED and len(impression.features) in LOGGED_LENGTHS


def logged_features(impression: Impression) -> NDArray[np.float32]:
    """Dense features of a row of the log, float32[DENSE_FEATURES]; what its program did not compute is 0, not known.

    Raises:
        ValueError: the row has features that this version does not know.
    """
    logged = impression.features
    if len(logged) not in LOGGED_LENGTHS:
        raise ValueError(f"Logged with {len(logged)} dense features, this has {DENSE_FEATURES}.")
    dense = np.zeros(DENSE_FEATURES, np.float32)
    dense[: len(logged)] = logged
    return dense


def to_a_stranger(dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dense features, float32[..., DENSE_FEATURES], as of somebody who has never been offered anything; a copy."""
    blind = np.array(dense, np.float32)
    blind[..., _HABITS] = 0.0
    return blind


class Featurizer:
    """Turns moments and log entries into model inputs.

    Args:
        bundle: gives the tokenizer, and the names of the dense features its model was made for.

    Raises:
        BundleError: the bundle was made for other features than this code computes.
    """

    def __init__(self, bundle: Bundle) -> None:
        shape = bundle.architecture
        if tuple(shape.dense_names) != DENSE_NAMES or (
            shape.line_tokens,
            shape.earlier_tokens,
            shape.candidate_tokens,
        ) != (LINE_TOKENS, EARLIER_TOKENS, CANDIDATE_TOKENS):
            raise BundleError(
                f"{bundle.name}/card.json: made for other features than this version computes. "
                "Build the bundle again (suggestion-model build) or install the matching release."
            )
        self._tokenizer = Tokenizer(bundle.tokenizer)
        pieces = tuple(self._tokenizer.piece(at) for at in range(1, self._tokenizer.vocabulary_size))
        self._hashed = HashedFeatures(shape.hash_buckets, DENSE_NAMES, pieces)

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return self._tokenizer

    def inputs(self, context: Context, candidates: Sequence[Candidate], habits: Habits, when: datetime) -> RankerInputs:
        """Inputs for n candidates in one moment, with the owner's habits: what is logged, and what the trigger sees.

        Args:
            context: what is being typed and what the conversation holds.
            candidates: n candidates, best baseline score first.
            habits: of the person typing.
            when: local time with a time zone (hour and weekday are read from it as it stands).

        Returns:
            n rows of each input of the model file; the ranker is given them through :func:`to_a_stranger`.
        """
        n = len(candidates)
        context_ids = np.repeat(_context_ids(self._tokenizer, context)[None, :], n, axis=0)
        candidate_ids = np.zeros((n, CANDIDATE_TOKENS), np.int32)
        for row, candidate in enumerate(candidates):
            candidate_ids[row] = self._tokenizer.padded(candidate.query, CANDIDATE_TOKENS)
        return RankerInputs(context_ids, candidate_ids, dense_rows(context, candidates, habits, when))

    def example(self, logged: LoggedImpression) -> Example:
        """A training example from one resolved offer of the log.

        Args:
            logged: a shown impression that was tapped, dismissed or ignored.

        Raises:
            ValueError: the entry has no label (withheld or pending), or its features have another length.
        """
        impression = logged.impression
        if logged.outcome not in _RESOLVED or not impression.shown:
            raise ValueError("Only shown and resolved impressions are examples; filter the log by outcome first.")
        dense = logged_features(impression)
        context_ids, candidate_ids = pair_ids(self._tokenizer, context_of(impression.context), impression.candidate)
        hashed_ids, hashed_values = self.hashed(context_ids, impression.category, impression.entity_types, dense)
        return Example(
            context_ids=context_ids,
            candidate_ids=candidate_ids,
            dense=to_a_stranger(dense),
            hashed_ids=hashed_ids,
            hashed_values=hashed_values,
            label=1.0 if logged.outcome is Outcome.TAPPED else 0.0,
            weight=min(1.0 / impression.propensity, MAX_EXAMPLE_WEIGHT),
        )

    def examples(self, logged: Iterable[LoggedImpression]) -> list[Example]:
        """Examples of all entries that have a label and fit this version; the others are passed over."""
        return [self.example(entry) for entry in logged if is_labelled(entry)]

    def hashed(
        self,
        context_ids: NDArray[np.int32],
        category: str,
        entity_types: Sequence[str],
        dense: NDArray[np.float32],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """What the trigger sees of one row of inputs and its candidate's category and entity types.

        Returns:
            indices and values, int32 and float32[HASHED_FEATURES].
        """
        return self._hashed.row(context_ids[:LINE_TOKENS], context_ids[LINE_TOKENS:], category, entity_types, dense)


def pair_ids(tokenizer: Tokenizer, context: Context, query: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Piece ids of a context and a candidate, int32[CONTEXT_TOKENS] and int32[CANDIDATE_TOKENS]."""
    return _context_ids(tokenizer, context), tokenizer.padded(query, CANDIDATE_TOKENS)


def _context_ids(tokenizer: Tokenizer, context: Context) -> NDArray[np.int32]:
    earlier = context.earlier[-1] if context.earlier else ""
    return np.concatenate(
        [
            tokenizer.padded(context.composed, LINE_TOKENS, keep="last"),
            tokenizer.padded(earlier, EARLIER_TOKENS, keep="last"),
        ]
    )


def _moment(context: Context, when: datetime) -> tuple[float, ...]:
    hour = 2 * math.pi * (when.hour + when.minute / 60) / 24
    weekday = 2 * math.pi * when.weekday() / 7
    earlier = context.earlier[-1] if context.earlier else ""
    return (
        math.sin(hour),
        math.cos(hour),
        math.sin(weekday),
        math.cos(weekday),
        math.log1p(len(context.composed.split())),
        float("?" in context.composed),
        math.log1p(len(context.earlier)),
        float("?" in earlier),
    )
