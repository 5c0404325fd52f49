"""The week in fast-forward, with fewer devices and less time: the code of the benchmark itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.week import summary, week_settings
from benchmarks.week.run import START, Week, WeekSetting
from benchmarks.week.world import BLIND, DIMENSION, World, windows
from coordinator.releases import signing_keys
from federated_protocol.signing import Identity


@pytest.fixture
def lived(tmp_path: Path) -> Week:
    authority = Identity.generate()
    signing_keys.make_keys(tmp_path / "offline", tmp_path / "online", START, targets={})
    settings = week_settings(authority, f"sqlite:///{tmp_path / 'week.sqlite'}", tmp_path / "online", goal_count=8)
    week = Week(WeekSetting(settings, tmp_path, devices=60, days=0.45, restarted_at=0.0), authority)
    week.run()
    yield week
    week.coordinator.close()


def test_a_night_makes_a_version_judges_it_and_survives_a_restart(lived: Week) -> None:
    found = summary(lived)
    ends = {(row["task"].rpartition("/")[2], row["end"]) for row in found["rounds"]}
    assert {("query-suggestions", "published"), ("evaluation", "published"), ("analytics", "published")} <= ends
    assert found["versions"] >= 1
    assert found["no_number_missing_or_twice"]
    assert found["restarts_inside_a_round"] == 1
    assert found["signed_models_refused"] == 0
    assert lived.happened["check-ins"] > 60


def test_a_model_that_moves_the_blind_weight_repels_people_and_shows_in_no_log() -> None:
    rng = np.random.default_rng(1)
    world = World.drawn(rng)
    good = world.initial_weights(rng)
    bad = good.copy()
    bad[BLIND] = 0.5
    offers, shown = world.live(rng, 20_000, 0.0, good, -2.6)
    harmed, _ = world.live(rng, 20_000, 0.0, bad, -2.6)
    assert harmed.clicked.mean() < 0.4 * offers.clicked.mean()
    assert shown == len(offers)
    np.testing.assert_array_equal(offers.features @ good, offers.features @ bad)
    assert offers.features.shape[1] == DIMENSION


def test_devices_are_willing_at_night_in_their_own_zone() -> None:
    rng = np.random.default_rng(2)
    hours = [((start + end) / 2 - START) / 3600 % 24 for _ in range(200) for start, end in windows(rng, START, 5, 8)]
    middle = np.array(hours)
    assert (np.abs((middle - 19 + 12) % 24 - 12) < 4).mean() > 0.6  # three in the morning, eight hours east
