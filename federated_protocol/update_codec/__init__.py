"""Float update <-> integers modulo 2^bits: subset, clip, weight, rotate, round, noise; exact counters beside it.

:func:`solve_codec` solves the width from the largest cohort; :func:`encode` runs on a device, :func:`decode_sum` on the
sum that secure aggregation opens. The secure vector is ``[update | weight | counters]``, see :func:`layout`.
"""

from federated_protocol.update_codec.codec import (
    DecodedSum,
    check_setting,
    decode_sum,
    encode,
    largest_mean_norm,
    layout,
    solve_codec,
)
from federated_protocol.update_codec.modulus import WRAP_PROBABILITY, solve_bits
from federated_protocol.update_codec.subspace import Subspace
from federated_protocol.vector_layout import VectorField, VectorLayout, pack, unpack

__all__ = [
    "WRAP_PROBABILITY",
    "DecodedSum",
    "Subspace",
    "VectorField",
    "VectorLayout",
    "check_setting",
    "decode_sum",
    "encode",
    "largest_mean_norm",
    "layout",
    "pack",
    "solve_bits",
    "solve_codec",
    "unpack",
]
