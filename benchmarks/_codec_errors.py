"""Error of the update codec against the bits and the share of coordinates that travel, beside theory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks import Value
from federated_protocol.plan import CodecSetting, SubsetBlock
from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec
from federated_protocol.update_codec.rotation import rotate
from federated_protocol.update_codec.rounding import rounding_variance
from federated_protocol.update_codec.subset import chosen_coordinates

PUBLISHED_NMSE = {1: 1.335, 2: 0.107, 4: 0.0043}
"""Hadamard + stochastic rounding, mean of 10 clients, d = 8192 lognormal (arXiv 2108.08842's comparison)."""


def error_table(dimension: int = 8192, clients: int = 10) -> list[dict[str, Value]]:
    """Normalised squared error of a mean of lognormal vectors, by levels and by the share that travels.

    The step spans the largest rotated coordinate of all clients with 2^bits levels. Theory: ``(1/p - 1) |mean|^2`` for
    the subset, and ``sum f (1 - f) step^2 / (p clients)^2`` for the rounding (f fractional parts), both over |x|^2 = 1.
    """
    rows: list[dict[str, Value]] = []
    updates = [_lognormal(dimension, seed) for seed in range(clients)]
    mean = np.mean(updates, axis=0)
    for share in (1.0, 0.25, 0.0625):
        for bits in (1, 2, 4, 8):
            blocks = (SubsetBlock(length=dimension, chosen=round(dimension * share)),) if share < 1 else ()
            measured, theory, width = [], [], 0
            for trial in range(4):
                rng = np.random.default_rng(trial)
                seeds = rng.bytes(32), rng.bytes(32) if blocks else b""
                rough = solve_codec(dimension, 1.0, 0.1, seeds[0], 100, clients, 24, blocks, seeds[1])
                sent = [_travelling(x, rough) for x in updates]
                step = 2 * max(float(np.abs(x).max()) for x in sent) / (2**bits - 1)
                setting = solve_codec(dimension, 1.0, step, seeds[0], 100, clients, 24, blocks, seeds[1])
                vectors = [encode(x, 1.0, [], setting, rng.bytes) for x in updates]
                summed = np.asarray(np.sum(vectors, axis=0, dtype=np.uint64), np.uint64).astype(np.uint32)
                layout(setting, 0).reduce(summed)
                found = decode_sum(summed, setting, clients).mean_update()
                measured.append(float(((found - mean) ** 2).sum()))
                rounding = sum(rounding_variance(x / step) for x in sent) * step**2
                theory.append((1 / share - 1) * float(mean @ mean) + rounding / (share * clients) ** 2)
                width = setting.bits
            rows.append(
                {
                    "subset": share,
                    "bits": bits,
                    "nmse": float(np.mean(measured)),
                    "theory": float(np.mean(theory)),
                    "own_steps": _with_own_steps(updates, bits) if share == 1 else None,
                    "published": PUBLISHED_NMSE.get(bits) if share == 1 else None,
                    "wire_bits": width,
                    "bytes": layout(setting, 0).packed_bytes,
                }
            )
    return rows


def _with_own_steps(updates: Sequence[NDArray[np.float64]], bits: int) -> float:
    """What the error would be if each client had a step of its own, which masks do not allow: as published."""
    error = 0.0
    for x in updates:
        y = rotate(x, bytes(32))
        step = float(y.max() - y.min()) / (2**bits - 1)
        error += rounding_variance((y - y.min()) / step) * step**2
    return error / len(updates) ** 2


def _travelling(x: NDArray[np.float64], setting: CodecSetting) -> NDArray[np.float64]:
    part = x[chosen_coordinates(setting.subset, setting.subset_seed)[0]] if setting.subset else x
    return rotate(part, setting.rotation_seed)


def _lognormal(dimension: int, seed: int) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).lognormal(size=dimension)
    return np.asarray(x / np.linalg.norm(x), np.float64)
