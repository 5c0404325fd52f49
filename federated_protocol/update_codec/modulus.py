"""How wide an update coordinate must be, so that the sum over the largest cohort does not wrap around.

With n devices, clip c, step γ, a rotation of window P (arXiv 2102.06387, section 4, with d / P for the rotation's
flattening factor), and local noise of scale σ steps, a coordinate of the summed integers is sub-Gaussian with variance
proxy

    (n c / γ)² / P   +   n / 4   +   n σ²

(the rotation's signs for a sum of norm at most n c, :mod:`.rotation`; n independent rounding errors, each in an
interval of one step; n discrete Gaussians, arXiv 2004.00010). It leaves ± k times the root with probability at most
2 exp(-k²/2), so

    2^b γ = 2 k √( (c n)² / P + n (γ²/4 + (σγ)²) ),      k = √(2 ln(2 m / δ)),

suffices for all m coordinates except with probability δ = :data:`WRAP_PROBABILITY` a round (times at most
(1 - 2^-10)^-n for the conditional rounding). Without noise ``n ⌈c/γ⌉`` holds for certain, and the smaller one counts.
A wrapped coordinate costs that coordinate of one round, no privacy. The seed must be drawn independently of the
updates.
"""

from __future__ import annotations

import math

from federated_protocol.errors import CodecError
from federated_protocol.update_codec.rotation import window
from federated_protocol.vector_layout import WIDEST_FIELD_BITS

WRAP_PROBABILITY = 2.0**-20
"""Largest probability, per round, that any coordinate of the sum wraps around."""


def deviations(coordinates: int) -> float:
    """k: how many deviations are covered."""
    return math.sqrt(2 * math.log(2 * coordinates / WRAP_PROBABILITY))


def largest_coordinate(
    dimension: int, clip: float, step: float, largest_cohort: int, *, rotated: bool, sigma: float = 0.0
) -> int:
    """Bound, in steps, on a coordinate of the sum; see the module's text."""
    n, c = largest_cohort, clip / step
    certain = n * math.ceil(c)
    k = deviations(dimension)
    if not rotated:
        return certain if sigma == 0 else certain + math.ceil(k * math.sqrt(n) * sigma)
    proxy = (n * c) ** 2 / window(dimension) + n * (0.25 + sigma**2)
    likely = math.ceil(k * math.sqrt(proxy))
    return likely if sigma else min(certain, likely)


def solve_bits(
    dimension: int, clip: float, step: float, largest_cohort: int, *, rotated: bool = True, sigma: float = 0.0
) -> int:
    """Smallest width b with ``[-2^(b-1), 2^(b-1))`` around every coordinate of the sum.

    Args:
        dimension: m, number of coordinates that travel, >= 1.
        clip: largest L2 norm of one update, > 0.
        step: width of a quantisation level, > 0, same unit as the clip.
        largest_cohort: n, most devices whose updates are ever added.
        rotated: whether the update is rotated; without rotation only the certain bound holds.
        sigma: scale of each device's noise, in steps.

    Raises:
        CodecError: values out of range, or more than 32 bits would be needed.
    """
    if dimension < 1 or largest_cohort < 1:
        raise CodecError("dimension and largest cohort must be at least 1")
    if not (0 < clip < math.inf and 0 < step < math.inf and clip / step < 2.0**48):
        raise CodecError("clip and step must be positive, finite numbers, and clip/step below 2^48")
    bound = largest_coordinate(dimension, clip, step, largest_cohort, rotated=rotated, sigma=sigma)
    bits = max(2, bound.bit_length() + 1)
    if bits > WIDEST_FIELD_BITS:
        raise CodecError(
            f"{bits} bits a coordinate would be needed, {WIDEST_FIELD_BITS} exist: "
            "raise the step, lower the clip or cut the cohort"
        )
    return bits
