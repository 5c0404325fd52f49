"""What the update_size benchmark rests on: its theory, its training loop and its kept parts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks._codec_errors import error_table
from benchmarks._federated_training import Laboratory
from benchmarks._replayed_people import Device, HeldOut, People
from benchmarks.update_size import Parts
from coordinator.rounds.planning import make_codec
from coordinator.settings import CodecTarget, OptimizerSettings
from suggestion_model.types import Example, RankerInputs

NOTHING: NDArray[np.int32] = np.zeros(0, np.int32)


def test_measured_errors_follow_theory() -> None:
    for row in error_table(dimension=512, clients=4):
        assert row["nmse"] == pytest.approx(row["theory"], rel=0.25), row


class Pull:
    """A model of eight weights that every device pulls towards its own number of examples."""

    start = np.zeros(8, np.float32)

    def train(
        self, weights: NDArray[np.float32], examples: Sequence[Example], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        return np.float32(0.01) * (len(examples) - weights)

    def scores(self, weights: NDArray[np.float32], inputs: RankerInputs) -> NDArray[np.float32]:
        return weights


PLAIN = OptimizerSettings("average", 1.0, prior_weight=0.0)


def people() -> People:
    none = np.zeros(0, np.float32)
    example = Example(NOTHING, NOTHING, none, NOTHING, none, 1.0, 1.0)
    devices = tuple(Device(str(n), (example,) * n, (n, n)) for n in (1, 2, 3))
    inputs = RankerInputs(NOTHING, NOTHING, none)
    return People(devices, HeldOut(inputs, np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), 0, 0))


def test_training_in_the_clear_is_the_weighted_mean_and_the_codec_hardly_changes_it() -> None:
    laboratory = Laboratory(people(), rounds=2, weight_cap=2, optimizer=PLAIN, dropout=0.0)
    clear = laboratory.train(Pull(), None, seed=1)
    mean = (0.5 * 1 + 1 * 2 + 1 * 3) / 2.5
    assert clear == pytest.approx(np.full(8, mean * (1 - 0.99**2)), rel=1e-5)
    target = CodecTarget(clip=1.0, step=0.0001)
    coded = laboratory.train(Pull(), lambda rng: make_codec(target, 8, 3, rng), seed=1)
    assert coded == pytest.approx(clear, abs=5e-4)
    assert np.array_equal(coded, laboratory.train(Pull(), lambda rng: make_codec(target, 8, 3, rng), seed=1))


def test_the_server_takes_the_coordinators_steps() -> None:
    found = Laboratory(people(), 1, 2, OptimizerSettings("momentum", 10.0, prior_weight=2.5), 0.0).train(
        Pull(), None, 1
    )
    mean = (0.5 * 1 + 1 * 2 + 1 * 3) / 2.5
    assert found == pytest.approx(np.full(8, 10 * 0.5 * mean * 0.01), rel=1e-5)


def test_a_finished_part_is_not_made_again(tmp_path: Path) -> None:
    replay = tmp_path / "replay.jsonl"
    replay.write_text("{}\n")
    options = argparse.Namespace(
        replay=replay, catalog=None, devices=1, rounds=1, held_out=1, clients=1, deadline=1.0, cache=tmp_path
    )
    made: list[int] = []

    def make() -> NDArray[np.float32]:
        made.append(1)
        return np.arange(3, dtype=np.float32)

    assert Parts(options).array("x", make).tolist() == [0, 1, 2]
    assert Parts(options).array("x", make).tolist() == [0, 1, 2]
    assert len(made) == 1
