"""Features scaled by counts: the same model, steps as long for a rare feature as for the bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks._sparse_clicks import sparse_clicks
from suggestion_model.algorithms.conditioning import count_scale
from suggestion_model.algorithms.fsvrg import Spread, count_vector
from suggestion_model.sparse import Floats, SparseRows, logits, objective, objective_gradient

D = 251


@pytest.fixture(scope="module")
def devices() -> list[SparseRows]:
    return sparse_clicks(nodes=40, examples=2_700, features=D)


@pytest.fixture(scope="module")
def spread(devices: list[SparseRows]) -> Spread:
    return Spread.of(np.sum([count_vector(rows, D) for rows in devices], axis=0))


def scaled(rows: SparseRows, scale: Floats) -> SparseRows:
    return replace(rows, values=(rows.values * scale[rows.ids]).astype(np.float32))


def test_scaled_rows_and_weights_are_the_same_model(devices: list[SparseRows], spread: Spread) -> None:
    scale, weights = count_scale(spread), np.random.default_rng(1).standard_normal(D)
    assert scale[0] == 1.0
    assert scale.max() <= np.sqrt(300)
    assert logits(weights / scale, scaled(devices[0], scale)) == pytest.approx(logits(weights, devices[0]), abs=1e-4)


def test_a_step_on_scaled_rows_is_a_step_by_one_over_the_share_of_rows(
    devices: list[SparseRows], spread: Spread
) -> None:
    together, scale = SparseRows.join(devices), count_scale(spread, most=50.0)
    step = scale * objective_gradient(np.zeros(D), scaled(together, scale), 0.0)
    rarity = np.minimum(spread.total / np.maximum(spread.examples, 1), 50.0)
    assert step == pytest.approx(rarity * objective_gradient(np.zeros(D), together, 0.0), abs=1e-5)


def test_ten_steps_on_scaled_rows_go_further_than_fifty_of_the_best_on_plain_ones(
    devices: list[SparseRows], spread: Spread
) -> None:
    together, scale = SparseRows.join(devices), count_scale(spread)

    def reached(rows: SparseRows, step: float, rounds: int) -> float:
        weights = np.zeros(D)
        for _ in range(rounds):
            weights = weights - step * objective_gradient(weights, rows, 0.0)
        return objective(weights, rows, 0.0)

    plain = {step: reached(together, step, 50) for step in (1.0, 2.0, 4.0, 8.0)}
    assert min(plain, key=lambda step: plain[step]) not in (1.0, 8.0)
    assert reached(scaled(together, scale), 1.0, 10) < min(plain.values())
