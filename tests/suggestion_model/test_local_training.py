"""Local training improves on its own examples, can be stopped, and leaves no trace in the ranker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from suggestion_model.runtime import Ranker
from suggestion_model.training import LocalSetting, example_scores, make_batch, mean_loss, train_locally
from suggestion_model.types import Example

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
    assert mean_loss(ranker, examples) == pytest.approx(update.loss_after, rel=1e-4)


def test_the_same_seed_gives_the_same_update(ranker: Ranker, examples: list[Example]) -> None:
    deltas = [
        train_locally(ranker, ranker.weights(), examples, SETTING, np.random.default_rng(seed)).delta
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(deltas[0], deltas[1])
    assert not np.array_equal(deltas[0], deltas[2])


def test_it_stops_before_the_next_step_when_asked(ranker: Ranker, examples: list[Example]) -> None:
    asked = iter([False, False, True])
    update = train_locally(
        ranker, ranker.weights(), examples, SETTING, np.random.default_rng(0), should_stop=lambda: next(asked)
    )
    assert (update.steps, update.stopped) == (2, True)
    assert np.linalg.norm(update.delta) > 0


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
    assert mean_loss(ranker, heavy) == pytest.approx(mean_loss(ranker, repeated), rel=1e-5)


def test_scores_of_examples_are_those_of_the_ranker(ranker: Ranker, examples: list[Example]) -> None:
    assert example_scores(ranker, examples).shape == (40,)
    assert np.isfinite(example_scores(ranker, examples)).all()


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
