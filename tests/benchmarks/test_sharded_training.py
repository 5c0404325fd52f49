"""A simulation trains what a device trains, and adds up what a server would."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._sharded_training import Job, Shard
from benchmarks.simulation import MEAN_EXAMPLES, example_counts
from suggestion_model.bundle import Bundle
from suggestion_model.head_trainer import HeadRows, HeadTrainer
from suggestion_model.training import LocalSetting, Progress, train_rows


def test_a_shards_sum_is_that_of_its_people_trained_one_by_one() -> None:
    bundle = Bundle.shipped()
    head, rng = HeadTrainer.load(bundle.ranker), np.random.default_rng(0)

    def person(count: int) -> HeadRows:
        # Numbers that any input can hold, a feature or an index.
        inputs = {
            name: rng.integers(0, 2, (count, *shape[1:])).astype(kind) for name, (kind, shape) in head.inputs.items()
        }
        return HeadRows(inputs, (rng.random(count) < 0.3).astype(np.float32), np.ones(count, np.float32))

    people = [person(count) for count in (1, 20, 300)]
    setting, start = LocalSetting(2, 16, 0.05), bundle.weights0
    job = Job(start, np.array([2, 0]), np.array([5, 6]), setting, None)
    found = Shard(bundle.ranker, people).train(job)
    expected = np.zeros(head.dimension)
    for number, seed in ((2, 5), (0, 6)):
        rows = people[number]
        expected += len(rows) * train_rows(head, start, rows, setting, Progress(seed, 0, start)).delta.astype(float)
    assert found.examples == 301
    np.testing.assert_allclose(found.delta, expected, atol=1e-3)


def test_people_hold_a_heavy_tailed_number_of_examples_of_the_stated_mean() -> None:
    counts = example_counts(2_000)
    assert counts.mean() == pytest.approx(MEAN_EXAMPLES, rel=0.01)
    assert counts.min() >= 1
    assert np.median(counts) < 0.7 * counts.mean()
    assert counts.max() > 10 * counts.mean()
