"""One candidate's logit under either head, for the keyboard: weights are swapped, the moment's inputs stay the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import RankerInputError
from .features import Featurizer, to_a_stranger
from .runtime import Ranker
from .types import Candidate, RankerInputs


class Scorer(Protocol):
    """A head with weights."""

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Score with these from now on.

        Raises:
            RankerInputError: they do not fit; those before them stay.
        """
        ...

    def score(self, inputs: RankerInputs, candidate: Candidate) -> float:
        """The logit of the one candidate that ``inputs`` has a row of, as :meth:`Featurizer.inputs` made it."""
        ...


class RankerScorer:
    """The ranker, which is not told of its owner's habits.

    Args:
        ranker: its weights are those to score with.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Replace the ranker's own."""
        self._ranker.set_weights(np.ascontiguousarray(weights, np.float32))

    def score(self, inputs: RankerInputs, candidate: Candidate) -> float:
        """By the model file."""
        return float(self._ranker.scores(replace(inputs, dense=to_a_stranger(inputs.dense)))[0])


class TriggerScorer:
    """The trigger: the sum of some sixty weights, for which no interpreter is needed.

    Args:
        featurizer: hashes the moment.
        dimension: number d of weights.
    """

    def __init__(self, featurizer: Featurizer, dimension: int) -> None:
        self._featurizer = featurizer
        self._weights = np.zeros(dimension, np.float32)

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Score with these."""
        if weights.shape != self._weights.shape or not np.isfinite(weights).all():
            raise RankerInputError(f"the trigger has {len(self._weights)} finite weights; keep the model you have.")
        self._weights = np.array(weights, np.float32)

    def score(self, inputs: RankerInputs, candidate: Candidate) -> float:
        """The same as the trigger's model file, and as training sees it."""
        ids, values = self._featurizer.hashed(
            inputs.context_ids[0], candidate.category, candidate.entity_types, inputs.dense[0]
        )
        return float(self._weights[ids] @ values)
