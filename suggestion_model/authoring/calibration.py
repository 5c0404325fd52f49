"""Label-free calibration: how dense features spread on unlabelled text, and which share of lines draws an offer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..features import (
    BASELINE_INDEX,
    CANDIDATE_TOKENS,
    CONTEXT_TOKENS,
    DENSE_FEATURES,
    Habits,
    dense_rows,
    pair_ids,
)
from ..tokenizer import Tokenizer
from ..types import CandidateSource, Context, Match, RankerInputs
from .corpus import Turn

OFFER_SHARE = 0.25
"""Version 0 offers on this share of unlabelled lines: often enough that the first logs hold something to learn from."""
CENTRE_LOGIT = -2.0
"""Logit of version 0 at its threshold: a guess at how often an offer just worth making is tapped, not a fit."""
TAP_SHARE = 0.1
"""A stand-in, as no label is seen: of the matches of unlabelled lines, those that count as tapped."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What unlabelled text says about the features."""

    mean: NDArray[np.float32]
    """[DENSE_FEATURES]"""
    deviation: NDArray[np.float32]
    """[DENSE_FEATURES], > 0"""
    threshold_score: float
    """Baseline score exceeded by the best candidate of :data:`OFFER_SHARE` of the lines."""
    slope: float
    intercept: float
    """Version 0's logit is slope * baseline score + intercept; slope is one over the score's deviation."""

    @property
    def threshold_logit(self) -> float:
        """Version 0's logit at the threshold score."""
        return self.slope * self.threshold_score + self.intercept


@dataclass(frozen=True, slots=True)
class Sample:
    """Best candidates of unlabelled lines."""

    inputs: RankerInputs
    """Of the m lines that have a candidate; habits are empty."""
    best_scores: NDArray[np.float64]
    """[lines], baseline score of the best candidate, 0 where there is none."""


def draw_sample(
    turns: Sequence[Turn], source: CandidateSource, tokenizer: Tokenizer, lines: int, rng: np.random.Generator
) -> Sample:
    """Look at the best candidates of ``lines`` lines drawn from ``turns``, which are in the order of time.

    Nobody tapped on unlabelled text: of the earlier matches of a conversation :data:`TAP_SHARE` are tapped by chance,
    so that what tells of taps has a spread.
    """
    chosen = np.sort(rng.choice(len(turns), size=min(lines, len(turns)), replace=False)).tolist()
    place = {index: at for at, index in enumerate(chosen)}
    last = {turns[index].conversation: index for index in chosen}
    matches: dict[str, list[Match]] = defaultdict(list)
    rows, context_ids, candidate_ids = [], [], []
    best_scores = np.zeros(len(chosen))
    for index, turn in enumerate(turns):
        if index > last.get(turn.conversation, -1):
            continue
        before = matches[turn.conversation]
        context = Context(turn.text, turn.earlier, tuple(before))
        candidates = source.candidates(context, limit=8)[:1]
        if not candidates:
            continue
        best = candidates[0]
        before.append(Match(best.query, best.category, bool(rng.random() < TAP_SHARE)))
        if index in place:
            best_scores[place[index]] = best.score
            rows.append(dense_rows(context, candidates, Habits(), turn.when)[0])
            ids = pair_ids(tokenizer, context, best.query)
            context_ids.append(ids[0])
            candidate_ids.append(ids[1])
    inputs = RankerInputs(
        np.array(context_ids, np.int32).reshape(-1, CONTEXT_TOKENS),
        np.array(candidate_ids, np.int32).reshape(-1, CANDIDATE_TOKENS),
        np.array(rows, np.float32).reshape(-1, DENSE_FEATURES),
    )
    return Sample(inputs, best_scores)


def calibrate(rows: NDArray[np.float32], best_scores: NDArray[np.float64]) -> Calibration:
    """Calibration from dense rows of best candidates and the best score of every line (0 where there is none).

    Features that never vary on unlabelled text (habits are empty there) keep deviation 1.
    """
    mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(DENSE_FEATURES)
    deviation = rows.std(axis=0, dtype=np.float64) if len(rows) else np.ones(DENSE_FEATURES)
    deviation = np.where(deviation > 1e-3, deviation, 1.0)
    threshold = float(np.quantile(best_scores, 1.0 - OFFER_SHARE)) if len(best_scores) else 0.0
    slope = 1.0 / float(deviation[BASELINE_INDEX])
    return Calibration(
        mean.astype(np.float32), deviation.astype(np.float32), threshold, slope, CENTRE_LOGIT - slope * threshold
    )
