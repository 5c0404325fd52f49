"""Federated training on recorded examples, with any codec in the middle: what smaller updates cost in quality.

The server's side is the coordinator's own: its optimiser, and its prior weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._replayed_people import Device, People
from benchmarks._whole_ranker import WholeRanker
from coordinator.aggregation import OptimizerState, make_optimizer
from coordinator.settings import OptimizerSettings
from federated_protocol.plan import CodecSetting, TrainingSetting
from federated_protocol.update_codec import decode_sum, encode, layout
from suggestion_model.bundle import Bundle
from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalSetting, train_locally
from suggestion_model.types import Example, RankerInputs

Weights = NDArray[np.float32]
MakeCodec = Callable[[Callable[[int], bytes]], CodecSetting]
"""From a source of random bytes to the codec of one round."""


class Trainable(Protocol):
    """A model whose weights devices improve."""

    start: Weights
    """Of version 0, float32[d]."""

    def train(self, weights: Weights, examples: Sequence[Example], rng: np.random.Generator) -> Weights:
        """ClientUpdate from ``weights``: their change, float32[d]."""
        ...

    def scores(self, weights: Weights, inputs: RankerInputs) -> NDArray[np.float32]:
        """Logits of n pairs, float32[n]."""
        ...


class Head:
    """The shipped ranker, whose head trains on devices."""

    def __init__(self, bundle: Bundle, training: TrainingSetting) -> None:
        self.start: Weights = bundle.weights0
        self._ranker = Ranker(bundle)
        self._setting = LocalSetting(training.epochs, training.batch_size, training.learning_rate, training.proximal)

    def train(self, weights: Weights, examples: Sequence[Example], rng: np.random.Generator) -> Weights:
        """See :class:`Trainable`."""
        return train_locally(self._ranker, weights, examples, self._setting, rng).delta

    def scores(self, weights: Weights, inputs: RankerInputs) -> NDArray[np.float32]:
        """See :class:`Trainable`."""
        self._ranker.set_weights(weights)
        return self._ranker.scores(inputs)


class Whole:
    """The whole ranker: every weight for itself (``moved`` None), or along a random subspace."""

    def __init__(self, bundle: Bundle, training: TrainingSetting, moved: tuple[int, int] | None, seed: bytes) -> None:
        self._ranker = WholeRanker(bundle, moved, seed)
        self._training = training
        self.start: Weights = self._ranker.start
        self.weights = self._ranker.whole

    def train(self, weights: Weights, examples: Sequence[Example], rng: np.random.Generator) -> Weights:
        """See :class:`Trainable`."""
        setting = self._training
        return self._ranker.train(weights, examples, setting.epochs, setting.learning_rate, setting.proximal, rng)

    def scores(self, weights: Weights, inputs: RankerInputs) -> NDArray[np.float32]:
        """See :class:`Trainable`."""
        return self._ranker.scores(weights, inputs)


class Laboratory:
    """Rounds over the same people and examples for every model and codec; a seed says who is absent and in what order.

    Parameters
    ----------
    weight_cap
        W: a device's weight is min(n_k, W) / W.
    optimizer
        What the server makes of a round's mean update.
    dropout
        Share of the devices that miss a round.
    """

    def __init__(
        self, people: People, rounds: int, weight_cap: int, optimizer: OptimizerSettings, dropout: float = 0.1
    ) -> None:
        self._people = people
        self._rounds = rounds
        self._weight_cap = weight_cap
        self._server = make_optimizer(optimizer)
        self._prior_weight = optimizer.prior_weight
        self._dropout = dropout

    def train(self, model: Trainable, codec: MakeCodec | None, seed: int) -> Weights:
        """All rounds; without a codec, sums are taken in the clear in float64."""
        rng = np.random.default_rng(seed)
        weights, state = model.start.copy(), OptimizerState()
        for number in range(self._rounds):
            present = [d for d in self._people.devices if rng.random() >= self._dropout]
            seeds = np.random.default_rng(rng.integers(1 << 63))
            updates = self._updates(model, weights, present, number, seed)
            setting = codec(seeds.bytes) if codec is not None else None
            mean, total = _mean(updates, len(weights), setting, seed, number)
            shrunk = mean * (total / (total + self._prior_weight)) if total > 0 else mean
            stepped, state = self._server.step(weights.astype(np.float64), shrunk, state)
            weights = stepped.astype(np.float32)
        return weights

    def _updates(
        self, model: Trainable, weights: Weights, present: Sequence[Device], number: int, seed: int
    ) -> Iterator[tuple[int, Weights, float]]:
        """Device, update and weight, one at a time."""
        for i, device in enumerate(present):
            examples = device.at_round(number)
            if not examples:
                yield i, np.zeros_like(weights), 0.0
                continue
            delta = model.train(weights, examples, np.random.default_rng([seed, i]))
            yield i, delta, min(len(examples), self._weight_cap) / self._weight_cap

    def logits(self, model: Trainable, weights: Weights) -> NDArray[np.float32]:
        """Of every held-out candidate."""
        return model.scores(weights, self._people.held_out.inputs)


def _mean(
    updates: Iterator[tuple[int, Weights, float]], dimension: int, setting: CodecSetting | None, seed: int, number: int
) -> tuple[NDArray[np.float64], float]:
    """The weighted mean update, float64[d], zeros without any weight; and the sum of the weights."""
    if setting is None:
        summed, total = np.zeros(dimension), 0.0
        for _, delta, weight in updates:
            summed += weight * delta.astype(np.float64)
            total += weight
        return summed / total if total else summed, total
    shape = layout(setting, 0)
    vector = np.zeros(shape.length, np.uint32)
    devices = 0
    for i, delta, weight in updates:
        vector += encode(delta, weight, [], setting, np.random.default_rng([seed, number, i]).bytes)
        shape.reduce(vector)
        devices += 1
    decoded = decode_sum(vector, setting, devices)
    total = float(decoded.weight_sum)
    return decoded.mean_update() if total > 0 else np.zeros(dimension), total
