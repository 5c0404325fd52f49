"""How wide an update coordinate must be, so that the sum over the largest cohort does not wrap around.

With n devices, clip c, step γ and a rotation of window P, a coordinate of the summed integers is at most

- ``n ⌈c/γ⌉`` for certain, and
- ``(n c / γ) √(2 L / P) + √(n L / 2)`` with ``L = ln(4 d / δ)``, except with probability δ over all d coordinates: the
  first term is the rotation's tail for a sum of norm at most n c (:mod:`.rotation`), the second Hoeffding's bound for n
  independent rounding errors, each in an interval of one step. δ is :data:`WRAP_PROBABILITY`, split evenly.

The same reasoning as in arXiv 2102.06387, section 4, with Hoeffding's constants in place of a multiple of the standard
deviation. It needs the seed to be drawn independently of the updates.
"""

from __future__ import annotations

import math

from federated_protocol.errors import CodecError
from federated_protocol.update_codec.rotation import window
from federated_protocol.vector_layout import WIDEST_FIELD_BITS

WRAP_PROBABILITY = 2.0**-40
"""Largest probability, per round, that any coordinate of the sum wraps around. 0 for the first bound above."""


def largest_coordinate(dimension: int, clip: float, step: float, largest_cohort: int, *, rotated: bool) -> int:
    """Bound, in steps, on a coordinate of the sum; see the module's text."""
    certain = largest_cohort * math.ceil(clip / step)
    if not rotated:
        return certain
    log_term = math.log(4 * dimension / WRAP_PROBABILITY)
    update = largest_cohort * clip / step * math.sqrt(2 * log_term / window(dimension))
    rounding = math.sqrt(largest_cohort * log_term / 2)
    return min(certain, math.ceil(update + rounding))


def solve_bits(dimension: int, clip: float, step: float, largest_cohort: int, *, rotated: bool = True) -> int:
    """Smallest width b with ``[-2^(b-1), 2^(b-1))`` around every coordinate of the sum.

    Args:
        dimension: d, number of update coordinates, >= 1.
        clip: largest L2 norm of one update, > 0.
        step: width of a quantisation level, > 0, same unit as the clip.
        largest_cohort: n, most devices whose updates are ever added.
        rotated: whether the update is rotated; without rotation only the certain bound holds.

    Raises:
        CodecError: values out of range, or more than 32 bits would be needed.
    """
    if dimension < 1 or largest_cohort < 1:
        raise CodecError("dimension and largest cohort must be at least 1")
    if not (0 < clip < math.inf and 0 < step < math.inf and clip / step < 2.0**48):
        raise CodecError("clip and step must be positive, finite numbers, and clip/step below 2^48")
    bound = largest_coordinate(dimension, clip, step, largest_cohort, rotated=rotated)
    bits = max(2, bound.bit_length() + 1)
    if bits > WIDEST_FIELD_BITS:
        raise CodecError(
            f"{bits} bits a coordinate would be needed, {WIDEST_FIELD_BITS} exist: "
            "raise the step, lower the clip or cut the cohort"
        )
    return bits
