"""Federated averaging of beliefs: each weight counts by how much a device knows about it.

The plain mean of models treats a device that saw a feature fifty times like one that never saw it. Here what everybody
believes is a normal distribution, independent over the d weights, and it is the *prior* of every device: local training
maximises likelihood times prior, and what the device reports is how its examples alone would move that belief, by
Laplace's approximation at the weights it found (Liu et al., "A Bayesian federated learning framework with online
Laplace approximation", arXiv 2102.01936). Products of normal densities add up in precision and in precision times
mean, so that the server needs two sums over devices and nothing else, and both are sums under masks as well:

    device k:  w_k = argmin L_k(w) + 1/2 (w - m)' P (w - m),      h_k = diagonal of the Hessian of L_k at w_k
               reports  h_k (w_k - m) - grad L_k(w_k)   and   h_k
    server:    m <- m + eta (sum of the first) / (P + sum h_k),    P <- P + sum h_k

Without local steps, w_k = m, the first is the negative gradient: FedSGD with a step for each weight that shrinks as
evidence comes in. That weights are not independent makes the whole step too long, hence eta < 1.

Local steps cannot overshoot, however many examples a device has: each goes to the minimum of a bound on the objective
that touches it where the step begins, quadratic in every example's logit (Jaakkola and Jordan, "Bayesian parameter
estimation via variational methods", 2000) and, by Cauchy and Schwarz, in every weight for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..sparse import Floats, SparseRows, curvature_bound, curvature_sum, gradient_sum


@dataclass(frozen=True, slots=True)
class Belief:
    """Independent normal distributions over d weights."""

    mean: Floats
    """m, float64[d]"""
    precision: Floats
    """P, one over the variances, float64[d], > 0"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What examples say about the weights, to be added up over devices."""

    pull: Floats
    """Precision times distance from the mean, float64[d]."""
    curvature: Floats
    """Precision, float64[d], >= 0."""

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.pull + other.pull, self.curvature + other.curvature)


@dataclass(frozen=True, slots=True)
class OnlineLaplace:
    """The constants of the algorithm."""

    damping: float = 0.3
    """eta, in (0, 1]: the share of the way to the posterior's mean that a round goes."""
    local_steps: int = 10
    """>= 0; 0 is FedSGD with this server."""

    def local(self, belief: Belief, rows: SparseRows) -> Floats:
        """w_k, float64[d]: towards the most probable weights, were the device's n_k >= 1 examples all that is new."""
        weights = belief.mean
        for _ in range(self.local_steps):
            uphill = gradient_sum(weights, rows) + belief.precision * (weights - belief.mean)
            weights = weights - uphill / (curvature_bound(weights, rows) + belief.precision)
        return weights

    def evidence(self, belief: Belief, rows: SparseRows) -> Evidence:
        """A device's report."""
        weights = self.local(belief, rows)
        curvature = curvature_sum(weights, rows)
        return Evidence(curvature * (weights - belief.mean) - gradient_sum(weights, rows), curvature)

    def merge(self, belief: Belief, together: Evidence) -> Belief:
        """What everybody believes after a round, from the sum over its devices."""
        precision = belief.precision + together.curvature
        return Belief(belief.mean + self.damping * together.pull / precision, precision)
