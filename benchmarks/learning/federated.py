"""One loop for every federated algorithm: draw a cohort, let each device compute, sum, take the server's step.

What differs between algorithms is small and stands apart: what a device computes (:class:`LocalRule`), what the sum
goes through (:class:`Channel`), and the server's optimiser. The plain sum stands in for secure aggregation, which
opens the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.learners import Learner
from benchmarks.learning.population import Index, Population
from coordinator.aggregation.optimizers import Averaging, OptimizerState, ServerOptimizer
from coordinator.settings import CodecTarget
from federated_protocol.plan import CodecSetting
from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec
from suggestion_model.training import LocalSetting

Weights = NDArray[np.float32]
Vector = NDArray[np.float64]


class LocalRule(Protocol):
    """What a device makes of what it is given."""

    def update(self, learner: Learner, rows: Index, given: Run, seed: Sequence[int]) -> Vector:
        """Its update, float64[d], or whatever else the server's optimiser takes the mean of."""
        ...


@dataclass(frozen=True)
class Steps:
    """ClientUpdate of federated averaging, with FedProx's pull when the setting has one, by the device's trainer."""

    setting: LocalSetting

    def update(self, learner: Learner, rows: Index, given: Run, seed: Sequence[int]) -> Vector:
        """New weights less the shared ones."""
        return learner.train(rows, given.weights, self.setting, seed).astype(np.float64)


@dataclass(frozen=True)
class Gradient:
    """FedSGD (arXiv 1602.05629, section 2): one step on all of the device's examples at once."""

    learning_rate: float

    def update(self, learner: Learner, rows: Index, given: Run, seed: Sequence[int]) -> Vector:
        """The negative gradient of the device's mean loss, times the step."""
        return -self.learning_rate * learner.loss_and_gradient(rows, given.weights)[1]


class Channel(Protocol):
    """What the sum goes through on its way."""

    def mean(
        self, updates: Sequence[Vector], weights: Sequence[float], rng: np.random.Generator
    ) -> tuple[Vector, float]:
        """Weighted mean update, float64[d], and the sum of the weights as the server learns it."""
        ...

    def bytes_up(self, dimension: int) -> int:
        """Size of one device's vector."""
        ...


@dataclass(frozen=True)
class Clear:
    """float32 in the clear."""

    def mean(
        self, updates: Sequence[Vector], weights: Sequence[float], rng: np.random.Generator
    ) -> tuple[Vector, float]:
        """The plain weighted mean."""
        total = math.fsum(weights)
        return np.asarray(np.tensordot(np.array(weights), np.stack(updates), 1) / total, np.float64), total

    def bytes_up(self, dimension: int) -> int:
        """Four bytes a weight."""
        return 4 * dimension


@dataclass(frozen=True)
class Coded:
    """The product's codec: every device encodes, the integers are added, the sum is decoded."""

    target: CodecTarget
    cohort: int
    """Devices the widths are solved for."""
    noise_sixteenths: int = 0
    """Each device's discrete Gaussian noise, in 1/16 of a step."""

    def setting(self, dimension: int, rotation_seed: bytes = bytes(32)) -> CodecSetting:
        """As a plan would carry it."""
        return solve_codec(
            dimension,
            self.target.clip,
            self.target.step,
            rotation_seed if self.target.rotate else b"",
            self.target.weight_levels,
            self.cohort,
            (self.cohort * self.target.largest_count).bit_length(),
            noise_sixteenths=self.noise_sixteenths,
        )

    def mean(
        self, updates: Sequence[Vector], weights: Sequence[float], rng: np.random.Generator
    ) -> tuple[Vector, float]:
        """What the server decodes of the sum."""
        setting = self.setting(len(updates[0]), rng.bytes(32))
        vectors = [
            encode(update, weight, [], setting, np.random.default_rng(rng.integers(2**63)).bytes)
            for update, weight in zip(updates, weights, strict=True)
        ]
        summed = np.asarray(np.sum(vectors, axis=0, dtype=np.uint64), np.uint64).astype(np.uint32)
        layout(setting, 0).reduce(summed)
        decoded = decode_sum(summed, setting, len(vectors))
        return decoded.mean_update(), decoded.weight_sum

    def bytes_up(self, dimension: int) -> int:
        """The packed vector."""
        return layout(self.setting(dimension), 0).packed_bytes


@dataclass(frozen=True)
class Algorithm:
    """A federated algorithm."""

    local: LocalRule
    server: ServerOptimizer = field(default_factory=Averaging)
    prior_weight: float = 0.0
    """Shrinks the mean as if devices of this total weight had reported no change."""
    channel: Channel = field(default_factory=Clear)
    weight_cap: int = 16
    """W: a device counts min(n_k, W) / W."""


@dataclass
class Run:
    """A federated training that can be left and taken up again."""

    weights: Weights
    state: OptimizerState
    rounds: int
    """Rounds done."""


def train(
    algorithm: Algorithm,
    learner: Learner,
    population: Population,
    cohort: int,
    rounds: int,
    seed: int,
    run: Run | None = None,
    after_round: Callable[[Run], None] = lambda run: None,
) -> Run:
    """All rounds, each on ``cohort`` devices drawn anew from all that train.

    Cohorts follow from seed and round alone, so that algorithms meet the same devices.
    """
    run = run or Run(learner.start.copy(), OptimizerState(), 0)
    while run.rounds < rounds:
        number = run.rounds
        present = np.random.default_rng([seed, number]).permutation(len(population.devices))[:cohort]
        updates, weights = [], []
        for device in present.tolist():
            rows = population.devices[device]
            updates.append(algorithm.local.update(learner, rows, run, [seed, number, device]))
            weights.append(min(len(rows), algorithm.weight_cap) / algorithm.weight_cap)
        mean, total = algorithm.channel.mean(updates, weights, np.random.default_rng([seed, number, 2**31]))
        shrunk = mean * (total / (total + algorithm.prior_weight))
        stepped, state = algorithm.server.step(run.weights.astype(np.float64), shrunk, run.state)
        run = Run(stepped.astype(np.float32), state, number + 1)
        after_round(run)
    return run
