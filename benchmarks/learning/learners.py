"""What is trained: the ranker's head by the device's own trainer, with one face for every model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.population import Index, Population
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalSetting, make_batch, train_locally
from suggestion_model.types import Example, RankerInputs

Weights = NDArray[np.float32]
Vector = NDArray[np.float64]


class Learner(Protocol):
    """A model on the rows of one typed world; rows are given by their numbers."""

    start: Weights
    """float32[d], where every method begins: version 0."""

    def train(self, rows: Index, weights: Weights, setting: LocalSetting, seed: Sequence[int]) -> Weights:
        """ClientUpdate: the change, float32[d], that local training on ``rows`` makes."""
        ...

    def loss_and_gradient(self, rows: Index, weights: Weights) -> tuple[float, Vector]:
        """Weighted mean cross-entropy of ``rows``, and its gradient, float64[d]."""
        ...

    def logits(self, rows: Index, weights: Weights) -> NDArray[np.float32]:
        """Logits of ``rows``, float32."""
        ...


class RankerLearner:
    """The ranker that ships, run by LiteRT as on a device."""

    def __init__(self, population: Population) -> None:
        self._population = population
        bundle = Bundle.shipped()
        self._ranker = Ranker(bundle)
        self.start = bundle.weights0.copy()
        self._known: dict[int, Example] = {}

    def _examples(self, rows: Index) -> list[Example]:
        columns = self._population.world.examples
        found = []
        for row in rows.tolist():
            example = self._known.get(row)
            if example is None:
                example = self._known[row] = Example(
                    **{name: column[row] for name, column in columns.items()},
                    label=float(self._population.labels[row]),
                    weight=float(self._population.weights[row]),
                )
            found.append(example)
        return found

    def train(self, rows: Index, weights: Weights, setting: LocalSetting, seed: Sequence[int]) -> Weights:
        """See :class:`Learner`."""
        return train_locally(self._ranker, weights, self._examples(rows), setting, np.random.default_rng(seed)).delta

    def loss_and_gradient(self, rows: Index, weights: Weights) -> tuple[float, Vector]:
        """See :class:`Learner`; read off steps of length 1, a batch each."""
        examples = self._examples(rows)
        total, loss, weight = np.zeros(len(weights)), 0.0, 0.0
        size = self._ranker.train_batch
        for start in range(0, len(examples), size):
            batch = make_batch(examples[start : start + size], size)
            self._ranker.set_weights(weights)
            share = float(batch.weight.sum())
            loss += share * self._ranker.train_step(batch, 1.0)
            total += share * (weights.astype(np.float64) - self._ranker.weights())
            weight += share
        return loss / max(weight, 1e-12), total / max(weight, 1e-12)

    def logits(self, rows: Index, weights: Weights) -> NDArray[np.float32]:
        """See :class:`Learner`."""
        self._ranker.set_weights(weights)
        columns = self._population.world.examples
        inputs = RankerInputs(*(np.ascontiguousarray(columns[name][rows]) for name in RankerInputs.__annotations__))
        return self._ranker.scores(inputs)
