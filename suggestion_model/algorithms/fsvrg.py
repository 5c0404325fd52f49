"""Federated SVRG for sparse convex models (Konecny et al., arXiv 1610.02527, algorithm 4).

Devices hold different words, and few of them. Plain local descent moves a rare feature only where it occurs and the
average then shrinks that move away. FSVRG knows how features are spread: n^j examples of all n hold feature j, n_k^j of
the n_k on device k, and w^j of K devices hold it at all.

    phi^j = n^j / n,  phi_k^j = n_k^j / n_k,  S_k = diag(phi^j / phi_k^j),  A = diag(K / w^j),  h_k = h / n_k

    G = grad f(w)                                                   (secure sum 1)
    device k, in random order:  w_k -= h_k (S_k [grad f_i(w_k) - grad f_i(w)] + G)
    w <- w + A sum_k (n_k / n) (w_k - w)                            (secure sum 2)

The counts come from one secure sum before the first round: two integers a feature, so exact, and no device's counts
are seen (:func:`count_vector`). The ridge is the same on every device: its part of the bracket is not scaled by S_k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sparse import Floats, SparseRows, feature_counts, gradient_sum, logits, sigmoid


@dataclass(frozen=True, slots=True)
class Spread:
    """How features are spread over all devices: what the sum before the first round tells."""

    examples: NDArray[np.int64]
    """n^j, [d]"""
    holders: NDArray[np.int64]
    """w^j, [d]"""
    total: int
    """n"""
    devices: int
    """K, those that hold any example."""

    @classmethod
    def of(cls, counted: NDArray[np.integer]) -> Spread:
        """From the sum of :func:`count_vector` over all devices, int[2d + 2]."""
        d = (len(counted) - 2) // 2
        numbers = counted.astype(np.int64)
        return cls(numbers[:d], numbers[d : 2 * d], int(numbers[-2]), int(numbers[-1]))

    def server_scale(self) -> Floats:
        """The diagonal of A, float64[d]; 1 where nobody holds the feature."""
        return np.where(self.holders > 0, self.devices / np.maximum(self.holders, 1), 1.0)

    @property
    def share(self) -> Floats:
        """phi, float64[d]: all of the spread that a device needs."""
        return self.examples / max(self.total, 1)


def device_scale(share: Floats, own: NDArray[np.int64], examples: int) -> Floats:
    """The diagonal of S_k, float64[d]; 1 where the device lacks the feature.

    Args:
        share: phi, float64[d].
        own: n_k^j, [d].
        examples: n_k.
    """
    return np.where(own > 0, share * examples / np.maximum(own, 1), 1.0)


def count_vector(rows: SparseRows, dimension: int) -> NDArray[np.int64]:
    """What one device adds to the sum of counts: ``[n_k^j | n_k^j > 0 | n_k | n_k > 0]``, int64[2d + 2].

    Integers below 2^32 in every sum, so they travel as exact fields of a secure vector.
    """
    own = feature_counts(rows, dimension)
    return np.concatenate([own, own > 0, [len(rows), len(rows) > 0]]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Fsvrg:
    """The constants of the algorithm; A or S can be left out to see what they do."""

    step: float
    """h, > 0"""
    l2: float = 1e-5
    scale_server: bool = True
    """A; without it the mean is taken as it is."""
    scale_device: bool = True
    """S_k; without it the bracket is not scaled."""

    def update(
        self,
        weights: Floats,
        gradient: Floats,
        rows: SparseRows,
        share: Floats,
        rng: np.random.Generator,
    ) -> Floats:
        """One device's pass over its examples.

        Args:
            weights: w, float64[d].
            gradient: G, the gradient of the whole objective at w, ridge included, float64[d].
            rows: the device's n_k >= 1 examples.
            share: phi, the share of all examples that hold each feature, float64[d].
            rng: the order.

        Returns:
            w_k - w, float64[d].
        """
        h = self.step / len(rows)
        scale = np.ones(len(weights))
        if self.scale_device:
            scale = device_scale(share, feature_counts(rows, len(weights)), len(rows))
        start = logits(weights, rows)
        anchor, common = sigmoid(start), logits(gradient, rows)
        # w_k - w = shrunk * own - pulled * G: every step touches all of the latter, but is written down by two numbers.
        own, shrunk, pulled = np.zeros(len(weights)), 1.0, 0.0
        keep = 1.0 - h * self.l2
        for i in rng.permutation(len(rows)):
            ids, values = rows.ids[i], rows.values[i]
            z = start[i] + shrunk * float(own[ids] @ values) - pulled * common[i]
            error = (0.5 * (1.0 + math.tanh(0.5 * z)) - anchor[i]) * rows.weight[i]
            shrunk, pulled = keep * shrunk, keep * pulled + h
            np.subtract.at(own, ids, (h * error / shrunk) * scale[ids] * values)
        return shrunk * own - pulled * gradient

    def step_server(self, weights: Floats, update_sum: Floats, spread: Spread) -> Floats:
        """The next weights from the sum over devices of n_k (w_k - w), float64[d]."""
        return self.step_by_mean(weights, update_sum / spread.total, spread)

    def step_by_mean(self, weights: Floats, mean: Floats, spread: Spread) -> Floats:
        """The next weights from the mean of w_k - w, weighted by n_k, float64[d]."""
        return weights + (spread.server_scale() * mean if self.scale_server else mean)

    def round(self, weights: Floats, devices: list[SparseRows], spread: Spread, rng: np.random.Generator) -> Floats:
        """One round with every device taking part, sums in the clear: both of them are plain sums under the mask."""
        gradient = sum((gradient_sum(weights, rows) for rows in devices), np.zeros(len(weights))) / spread.total
        gradient = gradient + self.l2 * weights
        total = np.zeros(len(weights))
        for rows in devices:
            total += len(rows) * self.update(weights, gradient, rows, spread.share, rng)
        return self.step_server(weights, total, spread)
