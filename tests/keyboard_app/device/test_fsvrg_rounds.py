"""The trigger trained by FSVRG between real devices and a real coordinator over HTTP: counts, gradient, descent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from coordinator.aggregation.fsvrg import FsvrgState
from coordinator.rounds.fsvrg import state_at
from coordinator.rounds.planning import decode_plan
from coordinator.settings import FsvrgSettings
from data_logging import ImpressionLog, Outcome
from federated_protocol.plan import TaskKind
from keyboard_app.device.workbench import LABELLED
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector
from suggestion_model.bundle import Bundle
from suggestion_model.features import DENSE_FEATURES, Featurizer
from suggestion_model.runtime import Ranker
from suggestion_model.sparse import SparseRows, gradient_sum, objective
from suggestion_model.types import Head
from tests.keyboard_app.device.world import ROUNDS, Device, World, running_world
from tests.keyboard_app.offers import offer

DEVICES = 7
STEP = 20.0
L2 = 1e-4
WORDS = ("ramen", "flight", "museum", "dentist", "concert", "pizza", "hotel", "yoga", "garage", "vegan", "opera")


@pytest.fixture
def world(tmp_path: Path, bundle: Bundle, ranker: Ranker) -> Iterator[World]:
    fsvrg = FsvrgSettings(
        step=STEP,
        l2=L2,
        weight_cap=32,
        recount_every=2,
        gradient_clip=8.0,
        gradient_step=1e-6,
        update_clip=50.0,
        update_step=1e-5,
    )
    rounds = msgspec.structs.replace(ROUNDS, goal_count=DEVICES)
    with running_world(tmp_path, bundle, ranker, algorithm="fsvrg", fsvrg=fsvrg, rounds=rounds) as world:
        for number in range(DEVICES):
            device = world.add_device(examples=0, engine=number == 0)
            write_sparse_log(device.log, seed=number)
        yield world


def write_sparse_log(log: ImpressionLog, seed: int) -> None:
    """Offers of one person, who uses few words and taps after some of them."""
    rng = np.random.default_rng(seed)
    own = rng.choice(WORDS, 4, replace=False)
    for number in range(int(rng.integers(12, 32))):
        word = str(rng.choice(own))
        impression = offer(
            created_at=log.clock() - 1000 + number,
            context=f"where is a good {word} around here",
            candidate=f"{word} in oakland",
            category="restaurants" if WORDS.index(word) % 2 else "travel",
            features=tuple(np.abs(rng.normal(size=DENSE_FEATURES)).tolist()),
        )
        tapped = rng.random() < (0.8 if WORDS.index(word) % 3 == 0 else 0.1)
        log.finish_line("treatment", 0, impression, Outcome.TAPPED if tapped else Outcome.IGNORED)
        log.count_line("treatment", 0)


def rows_of(bundle: Bundle, device: Device) -> SparseRows:
    logged = device.log.impressions(outcomes=LABELLED)
    return SparseRows.of(Featurizer(bundle).examples(logged))


def in_the_laboratory(
    world: World, devices: list[SparseRows], versions: int
) -> tuple[Spread, list[NDArray[np.float64]]]:
    """The same algorithm on the same examples in the same orders, sums in the clear: weights by version."""
    algorithm, d = Fsvrg(STEP, L2), world.bundle.architecture.hash_buckets
    spread = Spread.of(np.sum([count_vector(rows, d) for rows in devices], axis=0))
    orders = [np.random.default_rng(random.Random(str(device.home)).getrandbits(63)) for device in world.devices]
    weights = [world.bundle.trigger_weights0.astype(np.float64)]
    for _ in range(versions):
        start = weights[-1].astype(np.float32).astype(np.float64)
        gradient = np.sum([gradient_sum(start, rows) for rows in devices], axis=0) / spread.total + L2 * start
        updates = [
            len(rows) * algorithm.update(start, gradient, rows, spread.share, order)
            for rows, order in zip(devices, orders, strict=True)
        ]
        weights.append(algorithm.step_server(start, np.sum(updates, axis=0), spread))
    return spread, weights


def kinds(world: World) -> list[TaskKind]:
    """What the published rounds summed, oldest first."""
    return [decode_plan(row.plan or b"").kind for row in reversed(world.rounds) if row.state.value == "published"]


def run_rounds(world: World, count: int) -> None:
    """Let so many more rounds be published; between them everybody has rested."""
    target = len(kinds(world)) + count

    def over(number: int) -> bool:
        return len(kinds(world)) >= number and all(d.runtime.status.phase == "waiting" for d in world.devices)

    for number in range(target - count + 1, target + 1):
        world.run(partial(over, number))
        world.clock.now += 3600.0


def known_at(world: World, version: int) -> FsvrgState:
    with world.coordinator.database.reading() as connection:
        return state_at(connection, version)


def test_seven_devices_make_the_models_that_the_laboratory_makes_of_the_same_examples(
    world: World, bundle: Bundle
) -> None:
    run_rounds(world, 5)
    assert kinds(world) == [
        TaskKind.FEATURE_COUNTS,
        TaskKind.GRADIENT,
        TaskKind.DESCENT,
        TaskKind.GRADIENT,
        TaskKind.DESCENT,
    ]
    devices = [rows_of(bundle, device) for device in world.devices]
    spread, expected = in_the_laboratory(world, devices, versions=2)
    counted = known_at(world, 0).spread
    assert counted is not None
    assert np.array_equal(counted.examples, spread.examples)
    assert np.array_equal(counted.holders, spread.holders)
    assert (counted.total, counted.devices) == (spread.total, spread.devices) == (sum(map(len, devices)), DEVICES)
    together = SparseRows.join(devices)
    for version in (1, 2):
        made = world.devices[0].runtime.store.find(version, digest_of(world, version))
        assert made is not None
        assert made.head is Head.TRIGGER
        moved = np.abs(expected[version] - expected[version - 1]).max()
        assert moved > 0.05
        assert np.abs(made.weights - expected[version]).max() < 2e-3 * moved
        assert objective(made.weights.astype(float), together, L2) < objective(expected[version - 1], together, L2)


def test_the_keyboard_ranks_with_the_newest_version_and_usage_is_reported_once(world: World) -> None:
    run_rounds(world, 3)
    status = world.devices[0].runtime.status
    assert (status.model_version, status.ranking_version) == (1, 1)
    assert all(device.log.usage_unreported() == [] for device in world.devices)
    sent = [len(device.transport.masked_inputs) for device in world.devices]
    assert sent == [3] * DEVICES


def digest_of(world: World, version: int) -> str:
    return next(model.digest for model in world.coordinator.models.all() if model.version == version)
