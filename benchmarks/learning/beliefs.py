"""Online Laplace (:mod:`suggestion_model.algorithms.online_laplace`) as an algorithm of the laboratory's loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.learning.federated import Algorithm, Run, Vector
from benchmarks.learning.learners import Learner
from benchmarks.learning.population import Index
from coordinator.aggregation.optimizers import OptimizerState
from suggestion_model.algorithms.online_laplace import Belief, Evidence, OnlineLaplace
from suggestion_model.sparse import SparseRows

PRIOR_PRECISION = 0.5
"""Of every weight around version 0: a standard deviation of 1.4."""


def online_laplace(constants: OnlineLaplace, cohort: int, rows_of: Callable[[Index], SparseRows]) -> Algorithm:
    """Every device counts once: how much it knows is what it reports."""
    return Algorithm(_Report(constants, rows_of), _Posterior(constants, cohort), weight_cap=1)


def _belief(weights: Vector, state: OptimizerState) -> Belief:
    return Belief(weights, PRIOR_PRECISION + state.vector("learned", len(weights)))


@dataclass(frozen=True)
class _Report:
    """A device's evidence, as one vector [pull | curvature]."""

    constants: OnlineLaplace
    rows_of: Callable[[Index], SparseRows]

    def update(self, learner: Learner, rows: Index, given: Run, seed: Sequence[int]) -> Vector:
        """float64[2d]"""
        belief = _belief(given.weights.astype(np.float64), given.state)
        found = self.constants.evidence(belief, self.rows_of(rows))
        return np.concatenate([found.pull, found.curvature])


@dataclass(frozen=True)
class _Posterior:
    """The server's optimiser: its state is the precision learned so far."""

    constants: OnlineLaplace
    cohort: int

    def step(self, weights: Vector, update: Vector, state: OptimizerState) -> tuple[Vector, OptimizerState]:
        """From the mean report, float64[2d]."""
        pull, curvature = np.split(update * self.cohort, 2)
        found = self.constants.merge(_belief(weights, state), Evidence(pull, curvature))
        return found.mean, OptimizerState(state.steps + 1, {"learned": found.precision - PRIOR_PRECISION})
