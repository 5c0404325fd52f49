"""From the opened sums to the next model: deviant cohorts, weighted mean, server optimiser, checks."""

from coordinator.aggregation.next_model import (
    CohortSum,
    GateRejectedError,
    NextModel,
    agreeing_sums,
    make_next_model,
)
from coordinator.aggregation.optimizers import (
    Adam,
    Averaging,
    Momentum,
    OptimizerState,
    ServerOptimizer,
    Yogi,
    make_optimizer,
)

__all__ = [
    "Adam",
    "Averaging",
    "CohortSum",
    "GateRejectedError",
    "Momentum",
    "NextModel",
    "OptimizerState",
    "ServerOptimizer",
    "Yogi",
    "agreeing_sums",
    "make_next_model",
    "make_optimizer",
]
