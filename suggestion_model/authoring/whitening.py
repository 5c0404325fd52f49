"""Centre and decorrelate raw features on unlabelled text, gently.

The projection is (C + ridge I)^(-1/2) for the covariance C of the raw features of best candidates, scaled so that the
mean squared length of a projected row is :data:`POWER`. Directions with less variance than the ridge are left almost
as they are: they carry noise. Habits are empty on unlabelled text, so a stand-in of their spread is drawn.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..features import DENSE_NAMES, HABIT_FEATURES
from ..types import RankerInputs
from .ranker import FrozenFeatures

RIDGE = 1.0
POWER = 30.0
HABIT_DEVIATION = 0.5


def raw_features(frozen: FrozenFeatures, inputs: RankerInputs, chunk: int = 2048) -> NDArray[np.float32]:
    """Raw features of many (context, candidate) pairs, float32[n, raw]."""
    rows = []
    for start in range(0, len(inputs.dense), chunk):
        part = slice(start, start + chunk)
        arrays = (inputs.context_ids[part], inputs.candidate_ids[part], inputs.dense[part])
        rows.append(frozen.raw(*(tf.constant(a) for a in arrays))[1].numpy())
    return np.concatenate(rows)


def whiten(raw: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Projection [raw, raw] and offset [raw] from raw features [n, raw]."""
    rows = raw.astype(np.float64)
    habits = [DENSE_NAMES.index(name) for name in HABIT_FEATURES]
    centre = rows.mean(axis=0)
    rows = rows - centre
    rows[:, habits] = rng.standard_normal((len(rows), len(habits))) * HABIT_DEVIATION
    covariance = rows.T @ rows / max(len(rows), 1)
    values, vectors = np.linalg.eigh(covariance)
    projection = (vectors * (np.maximum(values, 0.0) + RIDGE) ** -0.5) @ vectors.T
    projection *= np.sqrt(POWER / max(np.trace(projection @ covariance @ projection), 1e-9))
    return projection.astype(np.float32), (-centre @ projection).astype(np.float32)
