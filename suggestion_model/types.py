"""The values that flow through the suggestion model: context -> candidates -> inputs -> scores."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Head(enum.StrEnum):
    """Which of a bundle's two models a vector of weights belongs to."""

    RANKER = "ranker"
    """The frozen embedding with a trainable head."""
    TRIGGER = "trigger"
    """Logistic regression over hashed features."""


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What weights of one head look like."""

    head: Head
    digest: str
    """SHA-256 (hex) that names bundle and head: weights fit nothing else."""
    dimension: int


@dataclass(frozen=True, slots=True)
class Match:
    """The best candidate of an earlier line of the conversation, whether it was offered or not."""

    query: str
    category: str
    tapped: bool


@dataclass(frozen=True, slots=True)
class Context:
    """What is being typed, and what this conversation already holds."""

    composed: str
    """The text being composed, up to and including the cursor."""
    earlier: tuple[str, ...] = ()
    """Earlier lines of the same conversation, both sides, oldest first; a few suffice."""
    matches: tuple[Match, ...] = field(default=(), compare=False)
    """Of the lines typed here before, oldest first, one for each that had a candidate. No candidate depends on them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One query that could be offered."""

    query: str
    category: str
    score: float
    """Baseline score of the matcher, >= 0, higher is better; comparable between contexts."""
    sensitive: bool = False
    features: tuple[float, ...] = ()
    """The matcher's own evidence, `suggestion_model.catalog.MATCH_FEATURES` names them in order."""
    entity_types: tuple[str, ...] = ()
    """Types of the entities that the query names ("city", "cuisine"), each once; none where the source knows none."""


class CandidateSource(Protocol):
    """Anything that proposes queries: the knowledge graph, a plain query list, or both."""

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """Propose at most ``limit`` candidates, best baseline score first; often none."""
        ...


@dataclass(frozen=True, slots=True)
class RankerInputs:
    """Model inputs for n (context, candidate) pairs."""

    context_ids: NDArray[np.int32]
    """[n, CONTEXT_TOKENS] piece ids, 0-padded."""
    candidate_ids: NDArray[np.int32]
    """[n, CANDIDATE_TOKENS] piece ids, 0-padded."""
    dense: NDArray[np.float32]
    """[n, DENSE_FEATURES], names in `suggestion_model.features.DENSE_NAMES`."""

    def take(self, which: NDArray[np.integer] | slice) -> RankerInputs:
        """Some of the rows."""
        return RankerInputs(self.context_ids[which], self.candidate_ids[which], self.dense[which])


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled training example: a row of RankerInputs as the ranker is given it, its label, its weight."""

    context_ids: NDArray[np.int32]
    candidate_ids: NDArray[np.int32]
    dense: NDArray[np.float32]
    hashed_ids: NDArray[np.int32]
    """[HASHED_FEATURES], what the trigger sees: indices of sparse features, `suggestion_model.hashed_features`."""
    hashed_values: NDArray[np.float32]
    """[HASHED_FEATURES], 0 where there is none."""
    label: float
    """1.0 tapped, 0.0 not."""
    weight: float
    """Inverse propensity, clipped; 1.0 for an ordinary offer."""
