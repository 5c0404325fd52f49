"""Local training improves on its own examples, can be stopped, and leaves no trace in the ranker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from suggestion_model.runtime import PAIR_INPUTS, Ranker
from suggestion_model.training import (
    LocalRun,
    LocalSetting,
    Progress,
    make_batch,
    train_locally,
    train_rows,
    whole_order,
)
from suggestion_model.types import Example, RankerInputs

SETTING = LocalSetting(epochs=5, batch_size=16, learning_rate=0.1)


def test_training_lowers_the_loss(ranker: Ranker, examples: list[Example]) -> None:
    update = train_locally(ranker, ranker.weights(), examples, SETTING, np.random.default_rng(0))
    assert update.loss_after < update.loss_before
    assert update.examples == 40
    assert update.steps == 5 * 3
    assert np.linalg.norm(update.delta) > 0
    assert update.delta.dtype == np.float32


def test_the_live_weights_stay_as_they_were(ranker: Ranker, examples: list[Example]) -> None:
    live = np.random.default_rng(2).standard_normal(ranker.dimension).astype(np.float32)
    ranker.set_weights(live)
    train_locally(ranker, np.zeros_like(live), examples, SETTING, np.random.default_rng(0))
    assert np.array_equal(ranker.weights(), live)


def test_delta_is_the_way_from_start_to_the_reported_loss(ranker: Ranker, examples: list[Example]) -> None:
    start = ranker.weights()
    update = train_locally(ranker, start, examples, SETTING, np.random.default_rng(0))
    ranker.set_weights(start + update.delta)
    summed = [ranker.evaluate(make_batch(examples[at : at + 16], 16))[0] for at in (0, 16, 32)]
    assert sum(summed) / 40 == pytest.approx(update.loss_after, rel=1e-4)


def test_the_same_seed_gives_the_same_update(ranker: Ranker, examples: list[Example]) -> None:
    deltas = [
        train_locally(ranker, ranker.weights(), examples, SETTING, np.random.default_rng(seed)).delta
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(deltas[0], deltas[1])
    assert not np.array_equal(deltas[0], deltas[2])


def steps_one_by_one(
    ranker: Ranker, start: NDArray[np.float32], examples: list[Example], setting: LocalSetting, seed: int
) -> NDArray[np.float32]:
    """The same training through ``train_step``: whole examples, one call a step."""
    live = ranker.weights()
    ranker.set_weights(start)
    for step in whole_order(seed, len(examples), setting):
        chosen = [examples[int(i)] for i in step[step >= 0]]
        ranker.train_step(make_batch(chosen, ranker.train_batch), setting.learning_rate)
        pull = np.float32(setting.learning_rate * setting.proximal)
        now = ranker.weights()
        ranker.set_weights(now - pull * (now - start))
    trained = ranker.weights()
    ranker.set_weights(live)
    return trained


@pytest.mark.parametrize(("count", "batch_size"), [(1, 16), (40, 7), (40, 16), (48, 16)])
def test_an_epoch_takes_every_example_once_in_full_batches(count: int, batch_size: int) -> None:
    setting = LocalSetting(3, batch_size, 0.1)
    epochs = whole_order(9, count, setting).reshape(3, -1)
    for epoch in epochs:
        assert sorted(epoch[:count].tolist()) == list(range(count))
        assert (epoch[count:] == -1).all()
    if count > 1:
        assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_an_order_follows_from_its_seed_alone() -> None:
    setting = LocalSetting(2, 16, 0.1)
    first = [whole_order(seed, 30, setting) for seed in (0, 1, 2**63 - 1)]
    again = [whole_order(seed, 30, setting) for seed in (2**63 - 1, 1, 0)]
    with ThreadPoolExecutor(1) as elsewhere:
        assert np.array_equal(elsewhere.submit(whole_order, 1, 30, setting).result(), first[1])
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])


def test_every_example_comes_first_equally_often() -> None:
    firsts = [int(whole_order(seed, 5, LocalSetting(1, 16, 0.1))[0, 0]) for seed in range(5_000)]
    assert np.bincount(firsts, minlength=5) == pytest.approx(1_000, abs=150)  # 5 standard deviations


@pytest.mark.parametrize("proximal", [0.0, 0.5])
@pytest.mark.parametrize(("count", "batch_size"), [(1, 16), (40, 16), (40, 7), (300, 16)])
def test_all_epochs_in_one_call_are_the_steps_one_by_one(
    ranker: Ranker,
    random_inputs: Callable[[int, int], RankerInputs],
    as_example: Callable[..., Example],
    count: int,
    batch_size: int,
    proximal: float,
) -> None:
    rows = random_inputs(count, 4)
    some = [as_example(rows, i, float(i % 3 == 0), 1.0 + i % 2) for i in range(count)]
    setting, start = LocalSetting(3, batch_size, 0.1, proximal), ranker.weights()
    update = train_rows(ranker.head, start, ranker.head_rows(some), setting, Progress(9, 0, start))
    expected = steps_one_by_one(ranker, start, some, setting, 9)
    np.testing.assert_allclose(start + update.delta, expected, atol=2e-6, rtol=2e-6)
    assert update.steps == 3 * -(-count // batch_size)


@pytest.mark.parametrize("stop_after", [1, 4, 14])
def test_a_stopped_run_goes_on_where_it_was(ranker: Ranker, examples: list[Example], stop_after: int) -> None:
    start, rows = ranker.weights(), ranker.head_rows(examples)
    whole = train_rows(ranker.head, start, rows, SETTING, Progress(5, 0, start))
    asked = iter([*[False] * stop_after, True])
    first = train_rows(ranker.head, start, rows, SETTING, Progress(5, 0, start), lambda: next(asked), steps_a_call=1)
    assert (first.steps, first.stopped) == (stop_after, True)
    assert np.linalg.norm(first.delta) > 0
    second = train_rows(ranker.head, start, rows, SETTING, first.progress)
    assert (second.steps, second.stopped) == (15, False)
    np.testing.assert_allclose(second.delta, whole.delta, atol=1e-6)


def test_an_epoch_visits_every_example_once_in_another_order(ranker: Ranker, examples: list[Example]) -> None:
    start, rows = ranker.weights(), ranker.head_rows(examples)
    order = LocalRun(ranker.head, start, rows, SETTING, Progress(3, 0, start))._order.reshape(5, -1)
    assert all(sorted(epoch[epoch >= 0].tolist()) == list(range(40)) for epoch in order)
    assert len({tuple(epoch.tolist()) for epoch in order}) == 5


def test_it_stops_before_the_next_call_when_asked(ranker: Ranker, examples: list[Example]) -> None:
    start = ranker.weights()
    update = train_locally(ranker, start, examples, SETTING, np.random.default_rng(0), should_stop=lambda: True)
    assert (update.steps, update.stopped) == (0, True)
    assert not update.delta.any()


def test_no_examples_give_a_zero_update(ranker: Ranker) -> None:
    update = train_locally(ranker, ranker.weights(), [], SETTING, np.random.default_rng(0))
    assert not update.delta.any()
    assert (update.examples, update.steps, update.loss_before) == (0, 0, 0.0)


def test_a_handful_of_examples_suffices(ranker: Ranker, examples: list[Example]) -> None:
    update = train_locally(ranker, ranker.weights(), examples[:2], SETTING, np.random.default_rng(0))
    assert update.loss_after < update.loss_before


def test_the_proximal_term_holds_the_update_back(ranker: Ranker, examples: list[Example]) -> None:
    norms = [
        np.linalg.norm(
            train_locally(
                ranker, ranker.weights(), examples, LocalSetting(5, 16, 0.1, proximal), np.random.default_rng(0)
            ).delta
        )
        for proximal in (0.0, 1.0, 5.0)
    ]
    assert norms[0] > norms[1] > norms[2] > 0


def test_weights_of_examples_count(ranker: Ranker, examples: list[Example]) -> None:
    heavy = [replace(examples[0], weight=3.0), examples[1]]
    repeated = [examples[0], examples[0], examples[0], examples[1]]
    losses = [ranker.head.mean_loss(ranker.weights(), ranker.head_rows(some)) for some in (heavy, repeated)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_head_scores_examples_as_the_ranker_does(ranker: Ranker, examples: list[Example]) -> None:
    weights = np.random.default_rng(0).standard_normal(ranker.dimension).astype(np.float32)
    ranker.set_weights(weights)
    inputs = RankerInputs(*(np.stack([getattr(e, name) for e in examples]) for name in PAIR_INPUTS))
    assert ranker.head.logits(weights, ranker.head_rows(examples)) == pytest.approx(ranker.scores(inputs), abs=1e-5)


@pytest.mark.parametrize(
    "setting",
    [LocalSetting(0, 16, 0.1), LocalSetting(1, 17, 0.1), LocalSetting(1, 0, 0.1), LocalSetting(1, 16, 0.1, -1)],
)
def test_settings_out_of_range_are_refused(ranker: Ranker, examples: list[Example], setting: LocalSetting) -> None:
    with pytest.raises(ValueError, match="Local training needs"):
        train_locally(ranker, ranker.weights(), examples, setting, np.random.default_rng(0))


def test_a_batch_takes_one_to_its_size(examples: list[Example]) -> None:
    assert make_batch(examples[:3], 16).weight.tolist() == [1.0] * 3 + [0.0] * 13
    for wrong in ([], examples[:17]):
        with pytest.raises(ValueError, match="batch"):
            make_batch(wrong, 16)
