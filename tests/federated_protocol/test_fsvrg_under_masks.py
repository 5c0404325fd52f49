"""A whole round of FSVRG through the update codec and secure aggregation: counts exact, gradient and update bounded.

Three sums make a round: counts (once), gradients, updates. Each is opened by the real clients and the server's half,
and one device vanishes after it shared its keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec
from federated_protocol.vector_layout import VectorField, VectorLayout
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector
from suggestion_model.sparse import SparseRows, gradient_sum, objective

D = 60
DEVICES = 8
GONE = DEVICES
LARGEST = 64
"""Levels of the weight: a device counts n_k / LARGEST, and n_k is at most that."""
STEP = 1e-4
ALGORITHM = Fsvrg(step=2.0, l2=1e-4)


@pytest.fixture(scope="module")
def devices() -> dict[int, SparseRows]:
    """By number; everybody has the bias, each a few words of their own."""
    rng = np.random.default_rng(5)
    found = {}
    for number in range(1, DEVICES + 1):
        n, own = int(rng.integers(5, LARGEST)), rng.choice(D - 1, 12, replace=False) + 1
        ids = np.concatenate([np.zeros((n, 1), int), rng.choice(own, (n, 3))], axis=1).astype(np.int32)
        values = np.ones(ids.shape, np.float32)
        tapped = (rng.random(n) < 0.2 + 0.5 * (ids[:, 1] % 2)).astype(np.float32)
        found[number] = SparseRows(ids, values, tapped, np.ones(n, np.float32))
    return found


@pytest.fixture
def opened(kit: Any) -> Callable[[dict[int, NDArray[np.uint32]], VectorLayout], NDArray[np.uint32]]:
    """Runs secure aggregation over vectors by device; the last device leaves after sharing its keys."""

    def run(vectors: dict[int, NDArray[np.uint32]], shape: VectorLayout) -> NDArray[np.uint32]:
        total: NDArray[np.uint32] = kit.Cohort(vectors, shape, {GONE: kit.Leaves.AFTER_SHARE}).run()
        return total

    return run


def test_a_round_of_fsvrg_is_three_sums_that_open_nothing_else(
    devices: dict[int, SparseRows],
    opened: Callable[[dict[int, NDArray[np.uint32]], VectorLayout], NDArray[np.uint32]],
) -> None:
    there = {number: rows for number, rows in devices.items() if number != GONE}
    together = SparseRows.join(there.values())

    examples_bits, holders_bits = (DEVICES * LARGEST).bit_length(), DEVICES.bit_length()
    shape = VectorLayout(
        (
            VectorField("examples", D, examples_bits),
            VectorField("holders", D, holders_bits),
            VectorField("total", 1, examples_bits),
            VectorField("devices", 1, holders_bits),
        )
    )
    counted = opened({k: count_vector(rows, D).astype(np.uint32) for k, rows in devices.items()}, shape)
    assert np.array_equal(counted, np.sum([count_vector(rows, D) for rows in there.values()], axis=0))
    spread = Spread.of(counted)
    assert spread.total == len(together)

    def summed(updates: dict[int, NDArray[np.float64]], clip: float) -> NDArray[np.float64]:
        """Sum of n_k u_k, through codec and masks; no update is longer than ``clip``."""
        setting = solve_codec(D, clip, STEP, b"", LARGEST, DEVICES)
        vectors = {k: encode(update, len(devices[k]) / LARGEST, [], setting) for k, update in updates.items()}
        decoded = decode_sum(opened(vectors, layout(setting, 0)), setting, len(there))
        assert decoded.weight_sum * LARGEST == pytest.approx(len(together))
        return decoded.update_sum * LARGEST

    start = np.zeros(D)
    gradients = {k: gradient_sum(start, rows) / len(rows) for k, rows in devices.items()}
    gradient_total = summed(gradients, clip=4.0)
    # Each device rounds each coordinate by less than one step of its weighted update.
    bound = len(there) * STEP * LARGEST
    assert np.abs(gradient_total - gradient_sum(start, together)).max() < bound
    gradient = gradient_total / spread.total + ALGORITHM.l2 * start

    updates = {
        k: ALGORITHM.update(start, gradient, rows, spread.share, np.random.default_rng(k))
        for k, rows in devices.items()
    }
    update_total = summed(updates, clip=16.0)
    exact = np.sum([len(rows) * updates[k] for k, rows in there.items()], axis=0)
    assert np.abs(update_total - exact).max() < bound

    reached, plain = (ALGORITHM.step_server(start, total, spread) for total in (update_total, exact))
    assert np.abs(reached - plain).max() < spread.server_scale().max() * bound / spread.total
    gain = [objective(start, together, ALGORITHM.l2) - objective(w, together, ALGORITHM.l2) for w in (reached, plain)]
    assert gain[0] == pytest.approx(gain[1], rel=0.05)
    assert gain[1] > 0.01
