"""Samples of the discrete Gaussian, exactly: no floating point touches a decision.

Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (arXiv 2004.00010), algorithms 1 to 3,
vectorised: every step runs on all samples that are still undecided. Probabilities are fractions of 64-bit integers
and every coin is a uniform integer drawn by rejection, so the result has exactly the distribution

    P[X = x]  proportional to  exp(-x^2 / (2 sigma^2)),   x an integer,   sigma = sixteenths / 16,

given perfect random bytes. Running time varies with the values drawn; a device that is timed from outside at this
resolution is outside the threat model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated_protocol.errors import CodecError
from federated_protocol.randomness import ByteSource, secure_source

SIXTEENTHS = 16
LARGEST_SIXTEENTHS = 256 * SIXTEENTHS
"""Up to sigma = 256 every numerator and denominator below fits 64 bits."""

_Ints = NDArray[np.int64]
_Coins = NDArray[np.bool_]


def discrete_gaussian(count: int, sixteenths: int, rng: ByteSource | None = None) -> _Ints:
    """Draw ``count`` independent samples of scale sigma = ``sixteenths / 16``, int64 [count].

    Args:
        count: how many, >= 0.
        sixteenths: 1..4096.
        rng: random bytes; by default AES-CTR keyed by the operating system.

    Raises:
        CodecError: sigma is out of range.
    """
    if not 1 <= sixteenths <= LARGEST_SIXTEENTHS:
        raise CodecError(f"the noise's sigma must lie between 1/16 and {LARGEST_SIXTEENTHS // SIXTEENTHS} steps")
    coins = _ExactCoins(rng if rng is not None else secure_source())
    a, b = sixteenths * sixteenths, SIXTEENTHS * SIXTEENTHS  # sigma^2 = a / b
    t = sixteenths // SIXTEENTHS + 1
    samples = np.zeros(count, np.int64)
    open_at = np.arange(count)
    while len(open_at):
        y = _discrete_laplace(len(open_at), t, coins)
        # Accept with exp(-(|y| - sigma^2 / t)^2 / (2 sigma^2)) = exp(-(|y| t b - a)^2 / (2 a b t^2)).
        numerator = np.square(np.abs(y) * (t * b) - a)
        accepted = coins.exp_minus(numerator, 2 * a * b * t * t)
        samples[open_at[accepted]] = y[accepted]
        open_at = open_at[~accepted]
    return samples


def _discrete_laplace(count: int, t: int, coins: _ExactCoins) -> _Ints:
    """P[Y = y] proportional to exp(-|y| / t) (algorithm 2 with s = 1)."""
    samples = np.zeros(count, np.int64)
    open_at = np.arange(count)
    while len(open_at):
        u = coins.below(np.full(len(open_at), t, np.uint64)).astype(np.int64)
        kept = coins.exp_minus(u, t)
        at, u = open_at[kept], u[kept]
        v = np.zeros(len(at), np.int64)
        running = np.arange(len(at))
        while len(running):  # v: successes of exp(-1) before the first failure
            running = running[coins.exp_minus(np.ones(len(running), np.int64), 1)]
            v[running] += 1
        if len(v) and int(v.max()) >= 128:  # probability e^-128 a sample; numerators would leave 64 bits
            raise CodecError("the random source is broken: it failed a test that chance fails once in 10^55 times")
        magnitude = u + t * v
        negative = coins.below(np.full(len(at), 2, np.uint64)) == 1
        fine = ~(negative & (magnitude == 0))
        samples[at[fine]] = np.where(negative, -magnitude, magnitude)[fine]
        done = np.zeros(len(open_at), np.bool_)
        done[np.flatnonzero(kept)[fine]] = True
        open_at = open_at[~done]
    return samples


class _ExactCoins:
    """Coins whose probabilities are exact."""

    def __init__(self, rng: ByteSource) -> None:
        self._rng = rng

    def below(self, bound: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Uniform integers in [0, bound), by rejection; each bound in 1..2^63."""
        result = np.empty(len(bound), np.uint64)
        open_at = np.arange(len(bound))
        # 2^64 mod bound: words below it would make small remainders more likely.
        surplus = (np.uint64(0) - bound) % bound
        while len(open_at):
            words = np.frombuffer(self._rng(8 * len(open_at)), dtype="<u8").astype(np.uint64, copy=False)
            fine = words >= surplus[open_at]
            result[open_at[fine]] = words[fine] % bound[open_at[fine]]
            open_at = open_at[~fine]
        return result

    def exp_minus(self, numerator: _Ints, denominator: int) -> _Coins:
        """True with probability exp(-numerator / denominator), numerators >= 0 (algorithm 1)."""
        whole, rest = np.divmod(numerator, denominator)
        result = self._exp_minus_fraction(rest, denominator)
        at = np.flatnonzero(result & (whole > 0))
        left = whole[at]
        while len(at):  # exp(-whole) = exp(-1)^whole: all must succeed
            success = self._exp_minus_fraction(np.ones(len(at), np.int64), 1)
            result[at[~success]] = False
            left = left - 1
            going_on = success & (left > 0)
            at, left = at[going_on], left[going_on]
        return result

    def _exp_minus_fraction(self, numerator: _Ints, denominator: int) -> _Coins:
        """True with probability exp(-numerator / denominator) for numerators in 0..denominator."""
        result = np.empty(len(numerator), np.bool_)
        open_at = np.arange(len(numerator))
        k = 1
        while len(open_at):
            bound = np.full(len(open_at), denominator * k, np.uint64)
            success = self.below(bound) < numerator[open_at].astype(np.uint64)
            result[open_at[~success]] = k % 2 == 1
            open_at = open_at[success]
            k += 1
        return result
