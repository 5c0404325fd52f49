"""Server optimisers: from the averaged update to the next weights.

The averaged update of a round is a *pseudo-gradient* (Reddi et al., "Adaptive federated optimization", arXiv
2003.00295, algorithm 2): the step the clients would take together. Every optimiser has the same tiny face, ``step``,
holds its constants only, and takes and returns its state, because the state lives beside the model version it made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from coordinator.settings import OptimizerSettings

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """Named vectors of shape [d], float64, and the number of steps taken."""

    steps: int = 0
    vectors: dict[str, Vector] = field(default_factory=dict)

    def vector(self, name: str, dimension: int) -> Vector:
        """The named vector, zeros when it does not exist or belongs to another dimension."""
        found = self.vectors.get(name)
        return found if found is not None and found.shape == (dimension,) else np.zeros(dimension)

    def encode(self) -> bytes:
        """Serialise for the ``models`` table (float64, little-endian)."""
        vectors = {name: vector.astype("<f8").tobytes() for name, vector in self.vectors.items()}
        return msgspec.msgpack.encode((self.steps, vectors))

    @classmethod
    def decode(cls, data: bytes | None) -> OptimizerState:
        """Inverse of :meth:`encode`; nothing stored is a fresh state."""
        if not data:
            return cls()
        steps, vectors = msgspec.msgpack.decode(data, type=tuple[int, dict[str, bytes]])
        return cls(steps, {name: np.frombuffer(raw, dtype="<f8").copy() for name, raw in vectors.items()})


class ServerOptimizer(Protocol):
    """What the coordinator needs of an optimiser."""

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """Next weights [d] and state, from the weights and the weighted mean update [d] of one round."""
        ...


@dataclass(frozen=True, slots=True)
class Averaging:
    """FedAvg (arXiv 1602.05629, algorithm 1) with a server learning rate; at 1.0 the plain weighted mean."""

    learning_rate: float = 1.0

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """w + eta * update."""
        return weights + self.learning_rate * update, OptimizerState(state.steps + 1)


@dataclass(frozen=True, slots=True)
class Momentum:
    """FedAvgM (Hsu et al., arXiv 1909.06335): v = beta v + update, w + eta v."""

    learning_rate: float = 1.0
    beta: float = 0.9

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """One step with momentum."""
        velocity = self.beta * state.vector("velocity", len(weights)) + update
        return weights + self.learning_rate * velocity, OptimizerState(state.steps + 1, {"velocity": velocity})


@dataclass(frozen=True, slots=True)
class Adam:
    """FedAdam (arXiv 2003.00295, algorithm 2), with the bias correction of Adam (arXiv 1412.6980)."""

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-3
    """Degree of adaptivity tau; large against the update's coordinates it becomes averaging."""

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """One adaptive step."""
        steps = state.steps + 1
        mean = self.beta1 * state.vector("mean", len(weights)) + (1 - self.beta1) * update
        square = self.beta2 * state.vector("square", len(weights)) + (1 - self.beta2) * update**2
        unbiased_mean, unbiased_square = mean / (1 - self.beta1**steps), square / (1 - self.beta2**steps)
        moved = weights + self.learning_rate * unbiased_mean / (np.sqrt(unbiased_square) + self.epsilon)
        return moved, OptimizerState(steps, {"mean": mean, "square": square})


@dataclass(frozen=True, slots=True)
class Yogi:
    """FedYogi (arXiv 2003.00295, algorithm 2): Adam whose second moment moves by a bounded share, so that a few large
    updates do not stop learning for long. As there, without bias correction; the moment starts at ``epsilon`` squared.
    """

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-3
    """Degree of adaptivity tau."""

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """One adaptive step."""
        mean = self.beta1 * state.vector("mean", len(weights)) + (1 - self.beta1) * update
        before = state.vector("square", len(weights)) if state.steps else np.full(len(weights), self.epsilon**2)
        square = before - (1 - self.beta2) * update**2 * np.sign(before - update**2)
        moved = weights + self.learning_rate * mean / (np.sqrt(square) + self.epsilon)
        return moved, OptimizerState(state.steps + 1, {"mean": mean, "square": square})


def make_optimizer(settings: OptimizerSettings) -> ServerOptimizer:
    """Build the optimiser that the settings name."""
    if settings.name == "momentum":
        return Momentum(settings.learning_rate, settings.momentum)
    if settings.name == "adam":
        return Adam(settings.learning_rate, settings.momentum, settings.beta2, settings.epsilon)
    if settings.name == "yogi":
        return Yogi(settings.learning_rate, settings.momentum, settings.beta2, settings.epsilon)
    return Averaging(settings.learning_rate)
