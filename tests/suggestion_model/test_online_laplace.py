"""Beliefs that add up: exact where weights are independent, and far ahead of plain averages on sparse clicks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._sparse_clicks import sparse_clicks
from suggestion_model.algorithms.online_laplace import Belief, Evidence, OnlineLaplace
from suggestion_model.sparse import (
    Floats,
    SparseRows,
    curvature_bound,
    curvature_sum,
    gradient_sum,
    loss_sum,
    objective,
)

D = 251


@pytest.fixture(scope="module")
def devices() -> list[SparseRows]:
    return sparse_clicks(nodes=40, examples=2_700, features=D)


def prior(precision: float = 0.5) -> Belief:
    return Belief(np.zeros(D), np.full(D, precision))


def added(parts: list[Evidence]) -> Evidence:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def test_curvature_is_how_the_gradient_changes(devices: list[SparseRows]) -> None:
    rows, weights = devices[0], np.random.default_rng(3).standard_normal(D)
    for j in np.unique(rows.ids)[:12]:
        small = 1e-5 * (np.arange(D) == j)
        change = gradient_sum(weights + small, rows)[j] - gradient_sum(weights - small, rows)[j]
        assert curvature_sum(weights, rows)[j] == pytest.approx(change / 2e-5, abs=1e-4)


def test_no_step_goes_above_the_bound(devices: list[SparseRows]) -> None:
    rng, rows = np.random.default_rng(6), devices[0]
    for size in (0.01, 0.3, 3.0):
        weights, way = rng.standard_normal(D), size * rng.standard_normal(D)
        bound = gradient_sum(weights, rows) @ way + 0.5 * curvature_bound(weights, rows) @ way**2
        assert loss_sum(weights + way, rows) <= loss_sum(weights, rows) + bound


def test_every_local_step_improves_likelihood_times_prior(devices: list[SparseRows]) -> None:
    belief, rows = Belief(np.full(D, 0.2), np.full(D, 0.1)), SparseRows.join(devices)

    def above(weights: Floats) -> float:
        return loss_sum(weights, rows) + 0.5 * float(belief.precision @ (weights - belief.mean) ** 2)

    reached = [above(OnlineLaplace(local_steps=steps).local(belief, rows)) for steps in range(8)]
    assert np.all(np.diff(reached) < 0)


def test_local_steps_end_where_likelihood_and_prior_balance(devices: list[SparseRows]) -> None:
    """There the report is what the posterior says: (precision + curvature) times the way that was gone."""
    belief, rows = prior(2.0), devices[0]
    found = OnlineLaplace(local_steps=3_000).evidence(belief, rows)
    way = found.pull / (belief.precision + found.curvature)
    assert gradient_sum(way, rows) + belief.precision * way == pytest.approx(np.zeros(D), abs=1e-6)
    assert np.abs(way).max() > 0.01


def test_one_feature_a_device_is_merged_as_if_everything_were_in_one_place() -> None:
    """Where no two weights meet in an example, many devices and one reach the same belief."""
    rng = np.random.default_rng(4)
    ids = np.repeat(np.arange(6), 10)[:, None].astype(np.int32)
    label = (rng.random(60) < 0.3).astype(np.float32)
    together = SparseRows(ids, np.ones((60, 1), np.float32), label, np.ones(60, np.float32))
    apart = [SparseRows(ids[j::6], together.values[j::6], label[j::6], together.weight[j::6]) for j in range(6)]
    one_by_feature = [
        SparseRows(*(column[10 * j : 10 * j + 10] for column in (ids, together.values, label, together.weight)))
        for j in range(6)
    ]
    belief, algorithm = Belief(np.zeros(6), np.full(6, 1.0)), OnlineLaplace(damping=1.0, local_steps=500)
    whole = algorithm.merge(belief, algorithm.evidence(belief, together))
    by_feature = algorithm.merge(belief, added([algorithm.evidence(belief, rows) for rows in one_by_feature]))
    assert by_feature.mean == pytest.approx(whole.mean)
    assert by_feature.precision == pytest.approx(whole.precision)
    # Dealt across features the approximation is taken at other weights: close, not equal.
    dealt = algorithm.merge(belief, added([algorithm.evidence(belief, rows) for rows in apart]))
    assert dealt.mean == pytest.approx(whole.mean, abs=0.15)


def test_without_local_steps_it_is_a_gradient_step_for_each_weight(devices: list[SparseRows]) -> None:
    belief, algorithm = prior(), OnlineLaplace(damping=0.25, local_steps=0)
    rows = devices[1]
    found = algorithm.merge(belief, algorithm.evidence(belief, rows))
    step = 0.25 / (belief.precision + curvature_sum(belief.mean, rows))
    assert found.mean == pytest.approx(-step * gradient_sum(belief.mean, rows))


def test_ten_rounds_of_a_few_devices_beat_sixty_of_the_best_plain_step(devices: list[SparseRows]) -> None:
    together = SparseRows.join(devices)

    def cohorts(rounds: int) -> list[list[SparseRows]]:
        return [
            [devices[k] for k in np.random.default_rng([5, number]).permutation(len(devices))[:20]]
            for number in range(rounds)
        ]

    def descend(step: float) -> float:
        weights: Floats = np.zeros(D)
        for cohort in cohorts(60):
            mean = sum((gradient_sum(weights, rows) for rows in cohort), np.zeros(D)) / sum(map(len, cohort))
            weights = weights - step * mean
        return objective(weights, together, 0.0)

    plain = {step: descend(step) for step in (0.5, 1.0, 2.0, 4.0, 8.0)}
    assert min(plain, key=lambda step: plain[step]) not in (0.5, 8.0)
    belief, algorithm = prior(), OnlineLaplace()
    for cohort in cohorts(10):
        belief = algorithm.merge(belief, added([algorithm.evidence(belief, rows) for rows in cohort]))
    assert objective(belief.mean, together, 0.0) < min(plain.values())
