"""The upper bound: all training people's logs pooled, the same model, optimised to the end.

Limited-memory BFGS on the whole pooled loss, a ridge towards version 0 chosen from a grid, stopped early: strength and
number of iterations are those that do best on training people set aside, and the fit is then repeated on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.learners import Learner, Weights
from benchmarks.learning.population import Index, Population
from suggestion_model.metrics import log_loss

RIDGES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
ITERATIONS = 150
CHECK_EVERY = 5


@dataclass(frozen=True)
class CentralFit:
    """What pooling gives."""

    weights: Weights
    ridge: float
    iterations: int
    validation_loss: float
    ridge_inside: bool
    """Whether the best ridge is not the largest of the grid."""


def fit_centralised(learner: Learner, inner: Population, population: Population) -> CentralFit:
    """Choose on the inner split, then fit on everybody who trains."""
    best: tuple[float, float, int] | None = None
    for ridge in RIDGES:
        losses: list[float] = []

        def note(weights: NDArray[np.float64], losses: list[float] = losses) -> None:
            if len(losses) % CHECK_EVERY and losses:
                losses.append(losses[-1])
                return
            logits = learner.logits(inner.judged_rows, weights.astype(np.float32))
            losses.append(log_loss(logits, inner.labels[inner.judged_rows]))

        _fit(learner, np.concatenate(inner.devices), ridge, ITERATIONS, note)
        if losses:
            iterations = int(np.argmin(losses)) + 1
            if best is None or losses[iterations - 1] < best[0]:
                best = (losses[iterations - 1], ridge, iterations)
    assert best is not None
    loss, ridge, iterations = best
    weights = _fit(learner, np.concatenate(population.devices), ridge, iterations, lambda weights: None)
    return CentralFit(weights, ridge, iterations, loss, ridge < RIDGES[-1])


def _fit(learner: Learner, rows: Index, ridge: float, iterations: int, note: object) -> Weights:
    from scipy.optimize import minimize

    start = learner.start.astype(np.float64)

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, slope = learner.loss_and_gradient(rows, weights.astype(np.float32))
        away = weights - start
        return loss + ridge / 2 * float(away @ away), slope + ridge * away

    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", callback=note, options={"maxiter": iterations, "maxcor": 20}
    )
    return np.asarray(found.x, np.float32)
