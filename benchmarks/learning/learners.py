"""What is trained: a head, by the device's own trainer, with one face for every model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.linear_head import linear_head
from benchmarks.learning.population import Index, Population
from suggestion_model.bundle import Bundle
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalRun, LocalSetting, Progress
from suggestion_model.types import Example

Weights = NDArray[np.float32]
Vector = NDArray[np.float64]
_PREPARED_AT_ONCE = 4096


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


class HeadLearner:
    """A head, trained inside its model file as on a device.

    Scores and whole-batch gradients of a linear head are matrix products (:mod:`.linear_head`); of any other, the file
    computes them.

    Args:
        head: the file's trainer.
        rows: what the head sees of every row of the world.
        start: float32[d], version 0.
    """

    def __init__(self, head: HeadTrainer, rows: HeadRows, start: Weights) -> None:
        self.start = start
        self._head = head
        self._rows = rows
        self._linear = linear_head(head, rows)

    def train(self, rows: Index, weights: Weights, setting: LocalSetting, seed: Sequence[int]) -> Weights:
        """See :class:`Learner`."""
        order = int(np.random.default_rng(seed).integers(2**62))
        run = LocalRun(self._head, weights, self._rows.take(rows), setting, Progress(order, 0, weights))
        while not run.done:
            run.advance()
        return run.progress.weights - weights

    def loss_and_gradient(self, rows: Index, weights: Weights) -> tuple[float, Vector]:
        """See :class:`Learner`."""
        label, weight = self._rows.label[rows], self._rows.weight[rows]
        total = float(weight.sum())
        if self._linear is None:
            return self._head.mean_loss(weights, self._rows.take(rows)), self._gradient_by_steps(rows, weights)
        part = self._linear.take(rows)
        z = part.times(weights)
        loss = np.maximum(z, 0) - z * label + np.log1p(np.exp(-np.abs(z)))
        slope = (0.5 + 0.5 * np.tanh(0.5 * z) - label) * weight
        return float(loss @ weight) / total, part.transposed_times(slope) / total

    def _gradient_by_steps(self, rows: Index, weights: Weights) -> Vector:
        """Read off steps of length 1, a batch each."""
        found, total = np.zeros(len(weights)), 0.0
        for start in range(0, len(rows), self._head.batch):
            part = self._rows.take(rows[start : start + self._head.batch])
            order = np.arange(len(part), dtype=np.int32)[None, :]
            share = float(part.weight.sum())
            found += share * (weights.astype(np.float64) - self._head.train(weights, part, order, 1.0))
            total += share
        return found / total

    def logits(self, rows: Index, weights: Weights) -> NDArray[np.float32]:
        """See :class:`Learner`."""
        if self._linear is None:
            return self._head.logits(weights, self._rows.take(rows))
        return self._linear.take(rows).times(weights)


def ranker_learner(population: Population) -> HeadLearner:
    """The head of the ranker that ships, on the rows of a world."""
    bundle = Bundle.shipped()
    ranker = Ranker(bundle)
    return HeadLearner(ranker.head, _prepare(ranker, population), bundle.weights0.copy())


def trigger_learner(population: Population, scale: Vector | None = None) -> HeadLearner:
    """The trigger alone, a logistic regression over hashed features, on the rows of a world.

    Args:
        population: whose rows.
        scale: [d], what the values of each feature are multiplied by and its weight at the start divided by.
    """
    bundle = Bundle.shipped()
    head, world = HeadTrainer.load(bundle.trigger), population.world
    inputs = {name: np.asarray(world.examples[name]) for name in head.inputs}
    start = bundle.trigger_weights0.copy()
    if scale is not None:
        inputs["hashed_values"] = inputs["hashed_values"] * scale.astype(np.float32)[inputs["hashed_ids"]]
        start = (start / scale).astype(np.float32)
    return HeadLearner(head, HeadRows(inputs, population.labels, population.weights), start)


def _prepare(ranker: Ranker, population: Population) -> HeadRows:
    """What the head sees of every row of the world."""
    columns, parts = population.world.examples, []
    for start in range(0, len(population.labels), _PREPARED_AT_ONCE):
        part = slice(start, start + _PREPARED_AT_ONCE)
        names, values = columns.keys(), zip(*(column[part] for column in columns.values()), strict=True)
        labels = zip(values, population.labels[part], population.weights[part], strict=True)
        examples = [
            Example(**dict(zip(names, row, strict=True)), label=float(label), weight=float(weight))
            for row, label, weight in labels
        ]
        parts.append(ranker.head_rows(examples))
    return HeadRows.join(parts)
