"""FSVRG: what its scalings are, that its counts travel under masks, and what it is worth on sparse, uneven clicks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._sparse_clicks import sparse_clicks
from federated_protocol.vector_layout import VectorField, VectorLayout, pack, unpack
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector, device_scale
from suggestion_model.sparse import SparseRows, feature_counts, objective, objective_gradient

D = 251
L2 = 1e-5


def spread_of(devices: list[SparseRows]) -> Spread:
    return Spread.of(np.sum([count_vector(rows, D) for rows in devices], axis=0))


def optimum(rows: SparseRows) -> np.ndarray:
    """Newton's method with halved steps."""
    x = np.zeros((len(rows), D))
    np.add.at(x, (np.arange(len(rows))[:, None], rows.ids), rows.values)
    weights = np.zeros(D)
    for _ in range(12):
        p = 1 / (1 + np.exp(-(x @ weights)))
        slope = objective_gradient(weights, rows, L2)
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x / len(rows) + L2 * np.eye(D), slope)
        here, length = objective(weights, rows, L2), 1.0
        while objective(weights - length * step, rows, L2) > here and length > 1e-6:
            length /= 2
        weights = weights - length * step
    return weights


@pytest.fixture(scope="module")
def devices() -> list[SparseRows]:
    return sparse_clicks(nodes=40, examples=2_700, features=D)


@pytest.fixture(scope="module")
def together(devices: list[SparseRows]) -> SparseRows:
    return SparseRows.join(devices)


@pytest.fixture(scope="module")
def solved(together: SparseRows) -> np.ndarray:
    weights = optimum(together)
    assert np.abs(objective_gradient(weights, together, L2)).max() < 1e-6
    return weights


@pytest.fixture(scope="module")
def best(together: SparseRows, solved: np.ndarray) -> float:
    return objective(solved, together, L2)


def gap_after(algorithm: Fsvrg, rounds: int, devices: list[SparseRows], together: SparseRows, best: float) -> float:
    weights, spread, rng = np.zeros(D), spread_of(devices), np.random.default_rng(1)
    for _ in range(rounds):
        weights = algorithm.round(weights, devices, spread, rng)
    return objective(weights, together, L2) - best


def test_twelve_rounds_beat_sixty_of_the_best_gradient_descent(
    devices: list[SparseRows], together: SparseRows, best: float
) -> None:
    descent = {}
    for step in (2.0, 4.0, 8.0, 16.0):
        weights = np.zeros(D)
        for _ in range(60):
            weights = weights - step * objective_gradient(weights, together, L2)
        descent[step] = objective(weights, together, L2) - best
    assert min(descent, key=lambda step: descent[step]) not in (2.0, 16.0)
    assert gap_after(Fsvrg(8.0, L2), 12, devices, together, best) < min(descent.values())


def test_without_the_servers_scaling_rare_features_lag_behind(
    devices: list[SparseRows], together: SparseRows, best: float
) -> None:
    gaps = [gap_after(Fsvrg(8.0, L2, scale_server=a), 12, devices, together, best) for a in (True, False)]
    assert gaps[0] < 0.5 * gaps[1]


def test_without_the_devices_scaling_twice_the_step_diverges(
    devices: list[SparseRows], together: SparseRows, best: float
) -> None:
    at_the_start = objective(np.zeros(D), together, L2) - best
    with_s, without = (
        [gap_after(Fsvrg(step, L2, scale_device=s), 12, devices, together, best) for step in (8.0, 16.0)]
        for s in (True, False)
    )
    assert with_s[1] < with_s[0] < 0.25 * at_the_start
    assert without[0] < 0.25 * at_the_start
    assert without[1] > at_the_start


def test_scaled_by_s_every_device_sees_features_as_often_as_all_devices_together(devices: list[SparseRows]) -> None:
    spread = spread_of(devices)
    for rows in devices:
        own = feature_counts(rows, D)
        scale = device_scale(spread.share, own, len(rows))
        held = own > 0
        assert (scale * own / len(rows))[held] == pytest.approx((spread.examples / spread.total)[held])
        assert (scale[~held] == 1).all()


def test_a_scales_by_how_few_devices_hold_a_feature(devices: list[SparseRows]) -> None:
    spread = spread_of(devices)
    scale = spread.server_scale()
    assert scale[0] == 1.0
    for feature in (0, 1, 50, D - 1):
        holders = sum(bool(feature_counts(rows, D)[feature]) for rows in devices)
        assert scale[feature] == (len(devices) / holders if holders else 1.0)


def test_nobody_moves_away_from_the_optimum(devices: list[SparseRows], solved: np.ndarray) -> None:
    moved = Fsvrg(1.0, L2).round(solved, devices, spread_of(devices), np.random.default_rng(0))
    assert np.abs(moved - solved).max() < 1e-4


def test_counts_do_not_count_padding_or_a_feature_twice() -> None:
    rows = SparseRows(
        np.array([[0, 3, 3, 0], [0, 4, 0, 0]], np.int32),
        np.array([[1, 1, 2, 0], [1, 1, 0, 0]], np.float32),
        np.zeros(2, np.float32),
        np.ones(2, np.float32),
    )
    assert feature_counts(rows, 6).tolist() == [2, 0, 0, 1, 1, 0]


def test_counts_are_exact_under_masks_that_cancel(devices: list[SparseRows]) -> None:
    """The sum before the first round opens only as a whole, in fields just wide enough for it."""
    layout = VectorLayout((VectorField("examples", D, 16), VectorField("holders", D, 6), VectorField("totals", 2, 16)))
    counts = [count_vector(rows, D) for rows in devices]
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 1 << 32, (len(devices), layout.length), dtype=np.uint32)
    masks[-1] = np.uint32(0) - masks[:-1].sum(axis=0, dtype=np.uint32)
    total = np.zeros(layout.length, np.uint32)
    for count, mask in zip(counts, masks, strict=True):
        masked = count.astype(np.uint32) + mask
        layout.reduce(masked)
        total += unpack(pack(masked, layout), layout)
    layout.reduce(total)
    assert np.array_equal(total, np.sum(counts, axis=0))
    assert np.array_equal(Spread.of(total).examples, spread_of(devices).examples)
