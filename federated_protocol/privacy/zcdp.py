"""The cost of a noisy sum in concentrated differential privacy, in closed form (no library on the device).

One release that satisfies rho-zCDP (arXiv 1605.02065) leaves every divergence D_alpha between neighbouring cohorts at
most rho alpha; several releases add up: rho = sum of rhos. The distributed discrete Gaussian (arXiv 2102.06387,
theorem 1): n devices add noise of scale sigma each to integer vectors of norm at most Delta in m dimensions; their
sum satisfies (epsilon^2 / 2)-zCDP with

    epsilon = min( sqrt(Delta^2 / (n sigma^2) + tau m / 2),   Delta / (sqrt(n) sigma) + tau sqrt(m) ),
    tau = 10 sum_{k=1}^{n-1} exp(-2 pi^2 sigma^2 k / (k + 1)),      sigma >= 1/2;

tau pays for a sum of discrete Gaussians not being one. Lengths are in quantisation steps here.
"""

from __future__ import annotations

import functools
import math

from federated_protocol.errors import CodecError

BIAS = 2.0**-10
"""beta of conditional rounding: the probability with which a rounding may be rejected (arXiv 2102.06387, section 4.1).

Also the reason why the modulus can count on unconditioned tails: for n devices conditioning multiplies the probability
of any event by at most (1 - beta)^-n, 1.13 for n = 128.
"""

_LARGEST_ORDER = 1e7


def rounded_norm_bound(clip_steps: float, dimension: int) -> float:
    """Largest L2 norm of an integer vector after conditional rounding (arXiv 2102.06387, proposition 26), in steps.

    The smaller of ``c + sqrt(m)``, which always holds, and a bound that stochastic rounding of a vector of norm c meets
    with probability at least 1 - beta.
    """
    root = math.sqrt(dimension)
    typical = clip_steps**2 + dimension / 4 + math.sqrt(2 * math.log(1 / BIAS)) * (clip_steps + root / 2)
    return math.sqrt(min((clip_steps + root) ** 2, typical))


def sum_rho(sensitivity: float, dimension: int, sigma: float, noisy_devices: int) -> float:
    """rho of one released sum.

    Args:
        sensitivity: Delta, in steps: :func:`rounded_norm_bound`.
        dimension: m, coordinates of the vector.
        sigma: scale of one device's noise, in steps, >= 1/2.
        noisy_devices: how many honest devices' noise is certainly in the sum, >= 1.

    Raises:
        CodecError: the theorem does not apply.
    """
    if sigma < 0.5 or noisy_devices < 1 or dimension < 1:
        raise CodecError("a private sum needs noise of at least half a step from at least one honest device")
    excess = math.pi**2 * 2 * sigma**2
    tau = 10 * math.fsum(math.exp(-excess * k / (k + 1)) for k in range(1, noisy_devices))
    ratio = sensitivity / (math.sqrt(noisy_devices) * sigma)
    epsilon = min(math.sqrt(ratio**2 + tau * dimension / 2), ratio + tau * math.sqrt(dimension))
    return epsilon**2 / 2


def epsilon_of(rho: float, delta: float) -> float:
    """The smallest epsilon >= 0 such that rho-zCDP gives (epsilon, delta)-DP (arXiv 2004.00010, proposition 12).

    epsilon = min over alpha > 1 of  rho alpha + log(1 - 1 / alpha) + log(1 / (alpha delta)) / (alpha - 1).
    """
    if rho < 0 or not 0 < delta < 1:
        raise CodecError("rho must not be negative, and delta must lie strictly between 0 and 1")
    if rho == 0:
        return 0.0

    def at(log_excess: float) -> float:
        excess = math.exp(log_excess)  # alpha - 1
        alpha = 1 + excess
        return rho * alpha + math.log(excess / alpha) - math.log(alpha * delta) / excess

    # The simple bound's best order, 1 + sqrt(log(1 / delta) / rho), is close to the true one; the function is unimodal.
    guess = 0.5 * math.log(math.log(1 / delta) / rho)
    low, high = guess - 6, min(guess + 6, math.log(_LARGEST_ORDER))
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(120):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if at(left) < at(right):
            high = right
        else:
            low = left
    return max(0.0, at((low + high) / 2))


@functools.lru_cache(maxsize=32)
def largest_rho(epsilon: float, delta: float) -> float:
    """The largest rho whose :func:`epsilon_of` at ``delta`` is at most ``epsilon`` (by bisection, rounded down).

    Some ten thousand logarithms: a process that asks for the same cap again is given the same answer.
    """
    if epsilon <= 0:
        return 0.0
    low, high = 0.0, epsilon + 1.0
    while epsilon_of(high, delta) <= epsilon:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if epsilon_of(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low
