"""From the opened sum to the next model: weighted mean, server optimiser, evaluation gate."""

from coordinator.aggregation.next_model import GateRejectedError, NextModel, make_next_model
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
    "GateRejectedError",
    "Momentum",
    "NextModel",
    "OptimizerState",
    "ServerOptimizer",
    "Yogi",
    "make_next_model",
    "make_optimizer",
]
