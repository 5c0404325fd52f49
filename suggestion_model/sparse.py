"""Logistic regression over sparse rows, in NumPy: objective, gradient, and the counts that FSVRG scales by.

The same model as the trigger's ``.tflite``, where nothing but arithmetic is wanted: as a test oracle, and for
algorithms that need the gradient of the whole objective.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .types import Example

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SparseRows:
    """n labelled rows; the logit of weights w is ``sum(w[ids] * values)``."""

    ids: NDArray[np.int32]
    """[n, places], indices into the weights; places of value 0 are padding."""
    values: NDArray[np.float32]
    """[n, places]"""
    label: NDArray[np.float32]
    """[n], in [0, 1]."""
    weight: NDArray[np.float32]
    """[n], >= 0."""

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(cls, examples: Iterable[Example]) -> SparseRows:
        """The hashed part of examples; at least one."""
        rows = list(examples)
        return cls(
            np.stack([row.hashed_ids for row in rows]),
            np.stack([row.hashed_values for row in rows]),
            np.array([row.label for row in rows], np.float32),
            np.array([row.weight for row in rows], np.float32),
        )

    @classmethod
    def join(cls, parts: Iterable[SparseRows]) -> SparseRows:
        """One after the other; at least one part."""
        ids, values, label, weight = zip(*((p.ids, p.values, p.label, p.weight) for p in parts), strict=True)
        return cls(np.concatenate(ids), np.concatenate(values), np.concatenate(label), np.concatenate(weight))


def logits(weights: Floats, rows: SparseRows) -> Floats:
    """Logits, float64[n]."""
    return np.asarray(np.einsum("np,np->n", weights[rows.ids], rows.values), np.float64)


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def loss_sum(weights: Floats, rows: SparseRows) -> float:
    """Weighted sum of the rows' cross-entropies, in nats."""
    z = logits(weights, rows)
    return float(((np.logaddexp(0.0, z) - z * rows.label) * rows.weight).sum())


def gradient_sum(weights: Floats, rows: SparseRows) -> Floats:
    """Gradient of :func:`loss_sum`, float64[d]."""
    error = (sigmoid(logits(weights, rows)) - rows.label) * rows.weight
    summed = np.bincount(rows.ids.ravel(), (error[:, None] * rows.values).ravel(), minlength=len(weights))
    return np.asarray(summed, np.float64)


def curvature_sum(weights: Floats, rows: SparseRows) -> Floats:
    """Diagonal of the Hessian of :func:`loss_sum`, float64[d], >= 0."""
    p = sigmoid(logits(weights, rows))
    bend = p * (1.0 - p) * rows.weight
    summed = np.bincount(rows.ids.ravel(), (bend[:, None] * rows.values**2).ravel(), minlength=len(weights))
    return np.asarray(summed, np.float64)


def curvature_bound(weights: Floats, rows: SparseRows) -> Floats:
    """A diagonal b, float64[d], with ``loss_sum(w + s) <= loss_sum(w) + s . gradient + sum(b s^2) / 2`` for every s."""
    half = 0.5 * np.abs(logits(weights, rows))
    # tanh(z / 2) / (2 z), which is 1/4 at z = 0.
    bend = np.where(half > 1e-6, np.tanh(half) / np.maximum(4.0 * half, 1e-6), 0.25) * rows.weight
    size = np.abs(rows.values)
    spread = (bend * size.sum(axis=1))[:, None] * size
    return np.asarray(np.bincount(rows.ids.ravel(), spread.ravel(), minlength=len(weights)), np.float64)


def objective(weights: Floats, rows: SparseRows, l2: float) -> float:
    """``loss_sum / n + l2 / 2 |w|^2`` over n rows."""
    return loss_sum(weights, rows) / len(rows) + 0.5 * l2 * float(weights @ weights)


def objective_gradient(weights: Floats, rows: SparseRows, l2: float) -> Floats:
    """Gradient of :func:`objective`, float64[d]."""
    return gradient_sum(weights, rows) / len(rows) + l2 * weights


def feature_counts(rows: SparseRows, dimension: int) -> NDArray[np.int64]:
    """In how many rows each feature is not zero, int64[dimension]: n_k^j of arXiv 1610.02527."""
    places = rows.ids.astype(np.int64) + np.arange(len(rows))[:, None] * dimension
    held = np.unique(places[rows.values != 0])
    return np.bincount(held % dimension, minlength=dimension)
