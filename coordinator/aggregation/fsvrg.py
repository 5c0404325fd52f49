"""What FSVRG (arXiv 1610.02527, algorithm 4) knows at a version, and its server's step.

Like every optimiser's state it lives beside the version it belongs to. Counts go on to the next version, the gradient
does not: it is that of one model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coordinator.aggregation.optimizers import OptimizerState, Vector
from federated_protocol.messages import Anchor
from federated_protocol.plan import TaskKind
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread


@dataclass(frozen=True, slots=True)
class FsvrgState:
    """What the sums so far have told."""

    spread: Spread | None = None
    """How features are spread over devices; None before they were counted."""
    gradient: Vector | None = None
    """Of the whole objective at the version, ridge included, float64[d]; None before it was summed."""
    epochs: int = 0
    """Versions made since features were counted."""

    @classmethod
    def of(cls, state: OptimizerState) -> FsvrgState:
        """Inverse of :meth:`stored`; a fresh state knows nothing."""
        vectors = state.vectors
        if "holders" not in vectors:
            return cls()
        spread = Spread.of(np.concatenate([vectors[name] for name in ("examples", "holders", "totals")]))
        return cls(spread, vectors.get("gradient"), state.steps)

    def stored(self) -> OptimizerState:
        """The form in which it is kept beside the version."""
        if self.spread is None:
            return OptimizerState()
        vectors = {
            "examples": self.spread.examples.astype(np.float64),
            "holders": self.spread.holders.astype(np.float64),
            "totals": np.array([self.spread.total, self.spread.devices], np.float64),
        }
        return OptimizerState(self.epochs, vectors if self.gradient is None else vectors | {"gradient": self.gradient})

    def next_sum(self, recount_every: int) -> TaskKind:
        """What the next round sums; features are counted again after so many versions, once for 0."""
        if self.spread is None or 0 < recount_every <= self.epochs:
            return TaskKind.FEATURE_COUNTS
        return TaskKind.GRADIENT if self.gradient is None else TaskKind.DESCENT

    def counted(self, counters: NDArray[np.integer]) -> FsvrgState:
        """After a sum of counts, ``[examples | holders | all examples | all devices]``, int[2d + 2]."""
        return replace(self, spread=Spread.of(counters), epochs=0)

    def anchor(self) -> Anchor | None:
        """What devices need for a pass; None while something is missing."""
        if self.spread is None or self.gradient is None:
            return None
        gradient, share = (values.astype("<f4").tobytes() for values in (self.gradient, self.spread.share))
        return Anchor(gradient=gradient, feature_share=share)


@dataclass(frozen=True, slots=True)
class HolderScaling:
    """The server's step: the mean update, each feature's part times devices over devices that hold it (A)."""

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """One step; the gradient is forgotten with the weights it was taken at."""
        known = FsvrgState.of(state)
        if known.spread is None:
            raise ValueError("FSVRG takes no step before features were counted")
        moved = Fsvrg(step=1.0).step_by_mean(weights, update, known.spread)
        return moved, replace(known, gradient=None, epochs=known.epochs + 1).stored()
