"""A simulation trains what a device trains, and adds up what a server would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import BenchmarkError
from benchmarks._sharded_training import Job, Shard, ShardedTraining
from benchmarks._workers import Workers
from benchmarks.simulation import MEAN_EXAMPLES, example_counts, make_head, make_people, start_weights
from coordinator.aggregation.cluster import Cluster
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


def test_a_cluster_trains_what_local_processes_train(cluster: Cluster) -> None:
    head, setting = make_head(), LocalSetting(2, 16, 0.05)
    found = []
    for workers in (Workers(3), Workers(3, cluster)):
        weights, rng = start_weights(HeadTrainer.load(head).dimension), np.random.default_rng(1)
        with ShardedTraining(head, make_people, (40,), workers) as shards:
            assert shards.people == [14, 13, 13]
            for _ in range(2):
                total = shards.round(weights, 12, setting, rng)
                weights = (weights + total.delta / total.examples).astype(np.float32)
        found.append((weights, total.examples))
    (here, examples), (there, examples_there) = found
    np.testing.assert_array_equal(here, there)
    assert examples == examples_there > 0


def test_a_cluster_takes_no_work_from_whoever_its_authority_does_not_know(cluster: Cluster) -> None:
    folder = Path(cluster.authority).parent
    stranger = replace(cluster, certificate=str(folder / "stranger.pem"), key=str(folder / "stranger.key"))
    with pytest.raises(BenchmarkError, match="refuses the certificate"):
        list(Workers(2, stranger).each(divmod, 7, [2, 3]))
    unreadable = replace(cluster, key=str(folder / "none.key"))
    with pytest.raises(BenchmarkError, match="cannot be used"):
        list(Workers(2, unreadable).each(divmod, 7, [2, 3]))


def test_work_is_the_same_here_in_processes_and_on_a_cluster(cluster: Cluster) -> None:
    items = [2, 3, 5, 7]
    expected = {item: divmod(100, item) for item in items}
    for workers in (Workers(1), Workers(2), Workers(2, cluster)):
        assert dict(workers.each(divmod, 100, items)) == expected
