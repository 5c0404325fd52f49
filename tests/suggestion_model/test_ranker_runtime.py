"""The runtime refuses what LiteRT would accept silently or die of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from suggestion_model.bundle import Bundle
from suggestion_model.errors import BundleError, RankerInputError
from suggestion_model.features import BASELINE_INDEX, DENSE_FEATURES
from suggestion_model.runtime import Batch, Ranker
from suggestion_model.training import make_batch
from suggestion_model.types import Example, RankerInputs

MakeInputs = Callable[[int, int], RankerInputs]


def test_version_0_is_an_affine_function_of_the_baseline_score(
    shipped: Bundle, ranker: Ranker, random_inputs: MakeInputs
) -> None:
    inputs = random_inputs(64, 1)
    line = shipped.card.baseline_logit
    expected = line.slope * inputs.dense[:, BASELINE_INDEX] + line.intercept
    assert line.slope > 0
    assert ranker.scores(inputs) == pytest.approx(expected, abs=1e-4)
    assert line.slope * shipped.card.threshold.baseline_score + line.intercept == pytest.approx(shipped.threshold0)


def test_scores_do_not_depend_on_how_many_are_asked_at_once(ranker: Ranker, random_inputs: MakeInputs) -> None:
    ranker.set_weights(np.random.default_rng(0).standard_normal(ranker.dimension).astype(np.float32))
    inputs = random_inputs(19, 1)
    together = ranker.scores(inputs)
    one_by_one = [ranker.scores(inputs.take(slice(i, i + 1)))[0] for i in range(19)]
    assert together == pytest.approx(one_by_one, abs=1e-5)
    assert together.dtype == np.float32
    assert ranker.scores(random_inputs(0, 1)).shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        {"dense": np.zeros((3, DENSE_FEATURES + 1), np.float32)},
        {"dense": np.zeros((3, DENSE_FEATURES), np.float64)},
        {"dense": np.zeros(DENSE_FEATURES, np.float32)},
        {"context_ids": np.zeros((3, 63), np.int32)},
        {"context_ids": np.zeros((2, 64), np.int32)},
        {"context_ids": np.zeros((3, 64), np.int64)},
        {"candidate_ids": np.zeros((3, 16), np.float32)},
        {"candidate_ids": np.full((3, 16), 8000, np.int32)},
        {"candidate_ids": np.full((3, 16), -1, np.int32)},
        {"dense": [[0.0] * DENSE_FEATURES] * 3},
    ],
)
def test_wrong_inputs_are_refused(ranker: Ranker, random_inputs: MakeInputs, change: dict[str, Any]) -> None:
    with pytest.raises(RankerInputError):
        ranker.scores(replace(random_inputs(3, 0), **change))


@pytest.mark.parametrize(
    "change",
    [
        {"label": np.zeros(15, np.float32)},
        {"weight": np.zeros((16, 1), np.float32)},
        {"dense": np.zeros((17, DENSE_FEATURES), np.float32)},
        {"context_ids": np.full((16, 64), 1 << 30, np.int32)},
    ],
)
def test_wrong_batches_are_refused(ranker: Ranker, examples: list[Example], change: dict[str, Any]) -> None:
    batch = replace(make_batch(examples[:16], 16), **change)
    for call in (lambda b: ranker.train_step(b, 0.1), ranker.evaluate):
        with pytest.raises(RankerInputError):
            call(batch)


def test_weights_of_another_length_type_or_not_finite_are_refused(ranker: Ranker) -> None:
    good = ranker.weights()
    bad_value = good.copy()
    bad_value[3] = np.nan
    infinite = good.copy()
    infinite[0] = np.inf
    for bad in (np.append(good, np.float32(0)), good[:-1], good.astype(np.float64), good[None], bad_value, infinite):
        with pytest.raises(RankerInputError):
            ranker.set_weights(bad)
    assert np.array_equal(ranker.weights(), good)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_senseless_learning_rate_is_refused(ranker: Ranker, examples: list[Example], rate: float) -> None:
    with pytest.raises(RankerInputError, match="learning_rate"):
        ranker.train_step(make_batch(examples[:16], 16), rate)


def test_weights_round_trip_exactly(ranker: Ranker) -> None:
    weights = np.random.default_rng(1).standard_normal(ranker.dimension).astype(np.float32)
    ranker.set_weights(weights)
    assert np.array_equal(ranker.weights(), weights)


def test_padding_changes_neither_loss_nor_step(ranker: Ranker, examples: list[Example]) -> None:
    padded = make_batch(examples[:5], 16)
    other_padding = Batch(**{each.name: getattr(padded, each.name).copy() for each in fields(Batch)})
    other_padding.dense[5:] = 7.0
    other_padding.label[5:] = 1.0
    start = ranker.weights()
    losses, results = [], []
    for batch in (padded, other_padding):
        ranker.set_weights(start)
        losses.append(ranker.train_step(batch, 0.5))
        results.append(ranker.weights())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert results[0] == pytest.approx(results[1], abs=1e-6)


def test_threads_sharing_a_ranker_do_not_disturb_each_other(ranker: Ranker, random_inputs: MakeInputs) -> None:
    ranker.set_weights(np.random.default_rng(0).standard_normal(ranker.dimension).astype(np.float32))
    rows = [random_inputs(8, seed) for seed in range(4)]
    expected = [ranker.scores(inputs) for inputs in rows]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            if not np.array_equal(ranker.scores(rows[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_file_that_is_none_is_named(shipped: Bundle) -> None:
    with pytest.raises(BundleError, match=r"ranker\.tflite"):
        Ranker(replace(shipped, ranker=b"TFL3 nonsense"))
