"""Local training on one device: ClientUpdate of federated averaging (arXiv 1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runtime import Batch, Ranker
from .types import Example


@dataclass(frozen=True, slots=True)
class LocalSetting:
    """How a device trains."""

    epochs: int
    """E, passes over the examples, >= 1."""
    batch_size: int
    """B, examples a step, 1..the model file's batch; smaller batches are padded with weight 0."""
    learning_rate: float
    """> 0"""
    proximal: float = 0.0
    """mu >= 0 of FedProx (arXiv 1812.06127): each step also pulls towards the starting weights."""


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What training made of the examples."""

    delta: NDArray[np.float32]
    """float32[d], new weights less the starting ones."""
    examples: int
    """n_k, examples trained on."""
    loss_before: float
    """Weighted mean cross-entropy over the examples, at the starting weights; 0 without examples."""
    loss_after: float
    steps: int
    stopped: bool
    """True when ``should_stop`` ended it early; the delta holds what was learned so far."""


def train_locally(
    ranker: Ranker,
    weights: NDArray[np.float32],
    examples: Sequence[Example],
    setting: LocalSetting,
    rng: np.random.Generator,
    should_stop: Callable[[], bool] = lambda: False,
) -> LocalUpdate:
    """Train from ``weights`` on ``examples`` in random order; the gradient is computed inside the model file.

    Args:
        ranker: does the steps. Its own weights are put back afterwards; meanwhile it must serve nobody else, so give
            training a ranker of its own.
        weights: float32[d], where to start.
        examples: any number; none gives a zero update.
        setting: epochs, batch, step size.
        rng: shuffles.
        should_stop: asked before each step (conditions changed, the person said stop).

    Raises:
        RankerInputError: weights or examples do not fit the model file.
        ValueError: a setting is out of range.
    """
    if not (1 <= setting.batch_size <= ranker.train_batch) or setting.epochs < 1 or setting.proximal < 0:
        raise ValueError(
            f"Local training needs a batch of 1..{ranker.train_batch}, at least one epoch and proximal >= 0."
        )
    live = ranker.weights()
    try:
        ranker.set_weights(weights)
        before = mean_loss(ranker, examples)
        steps, stopped = 0, False
        for _ in range(setting.epochs):
            order = rng.permutation(len(examples))
            for start in range(0, len(order), setting.batch_size):
                if should_stop():
                    stopped = True
                    break
                chosen = [examples[int(i)] for i in order[start : start + setting.batch_size]]
                ranker.train_step(make_batch(chosen, ranker.train_batch), setting.learning_rate)
                if setting.proximal:
                    now = ranker.weights()
                    pull = np.float32(min(setting.learning_rate * setting.proximal, 1.0))
                    ranker.set_weights(now - pull * (now - weights))
                steps += 1
            if stopped:
                break
        trained = ranker.weights()
        after = mean_loss(ranker, examples) if steps else before
        return LocalUpdate(trained - weights, len(examples), before, after, steps, stopped)
    finally:
        ranker.set_weights(live)


def make_batch(examples: Sequence[Example], size: int) -> Batch:
    """Stack at most ``size`` examples into a batch of exactly ``size`` rows, padded with weight 0."""
    if not examples or len(examples) > size:
        raise ValueError(f"{len(examples)} examples do not make a batch of {size}.")
    rows = [*examples, *[examples[0]] * (size - len(examples))]
    label = np.array([e.label for e in rows], np.float32)
    weight = np.zeros(size, np.float32)
    weight[: len(examples)] = [e.weight for e in examples]
    return Batch(
        np.stack([e.context_ids for e in rows]),
        np.stack([e.candidate_ids for e in rows]),
        np.stack([e.dense for e in rows]),
        label,
        weight,
    )


def mean_loss(ranker: Ranker, examples: Sequence[Example]) -> float:
    """Weighted mean cross-entropy of the ranker's weights on ``examples``; 0 without examples."""
    total = weight = 0.0
    for start in range(0, len(examples), ranker.train_batch):
        batch = make_batch(examples[start : start + ranker.train_batch], ranker.train_batch)
        total += ranker.evaluate(batch)[0]
        weight += float(batch.weight.sum())
    return total / weight if weight else 0.0


def example_scores(ranker: Ranker, examples: Sequence[Example]) -> NDArray[np.float32]:
    """Logits of ``examples`` under the ranker's weights, float32[n]."""
    scores = np.empty(len(examples), np.float32)
    for start in range(0, len(examples), ranker.train_batch):
        chosen = examples[start : start + ranker.train_batch]
        scores[start : start + len(chosen)] = ranker.evaluate(make_batch(chosen, ranker.train_batch))[1][: len(chosen)]
    return scores
