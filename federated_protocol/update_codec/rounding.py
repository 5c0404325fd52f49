"""Conditional stochastic rounding to integers (arXiv 2102.06387, section 4.1).

Each coordinate is rounded up with the probability of its fractional part, so rounding is unbiased; but it can lengthen
a vector by up to sqrt(m), and the noise would have to hide that. So the rounding is drawn again until the norm is
within the bound of :func:`federated_protocol.privacy.zcdp.rounded_norm_bound`. A draw is rejected with probability at
most beta = 2^-10, which bounds the bias that the condition causes: at most ``beta / (1 - beta) sqrt(m)`` steps, and in
practice none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from federated_protocol.errors import CodecError
from federated_protocol.privacy.zcdp import rounded_norm_bound
from federated_protocol.randomness import ByteSource

_MOST_DRAWS = 64  # each is rejected with probability < 2^-10


def round_conditionally(x: NDArray[np.float64], clip_steps: float, rng: ByteSource) -> NDArray[np.float64]:
    """Round ``x`` (float64 [m], norm at most ``clip_steps``) to integers within the norm bound.

    Raises:
        CodecError: the random source never gives an acceptable rounding: it is broken.
    """
    limit = rounded_norm_bound(clip_steps, len(x)) ** 2 * (1 + 1e-12)
    for _ in range(_MOST_DRAWS):
        rounded = round_stochastically(x, rng)
        if float(rounded @ rounded) <= limit:
            return rounded
    raise CodecError("no rounding within its bound in 64 draws: the random source is broken, sit this round out")


def round_stochastically(x: NDArray[np.float64], rng: ByteSource) -> NDArray[np.float64]:
    """Round each element up with the probability of its fractional part: E[result] = x, up to 2^-32."""
    floor = np.floor(x)
    dice = np.frombuffer(rng(4 * len(x)), dtype="<u4")
    return floor + (dice < (x - floor) * 2.0**32)


def rounding_variance(x: NDArray[np.float64]) -> float:
    """Expected squared error of rounding ``x`` without the condition: sum of f (1 - f) over fractional parts."""
    fraction = x - np.floor(x)
    return math.fsum(fraction * (1 - fraction))
