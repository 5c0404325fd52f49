"""The week in fast-forward, with fewer devices and less time: the code of the benchmark itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._workers import Post, Workers
from benchmarks.postgresql_server import PostgresServer
from benchmarks.week import summary, week_settings
from benchmarks.week.run import START, Week, WeekSetting
from benchmarks.week.taking_part import at_once
from benchmarks.week.world import BLIND, DIMENSION, World, windows
from coordinator.releases import signing_keys
from federated_protocol.signing import Identity


def live(
    folder: Path,
    url: str,
    days: float,
    server: PostgresServer | None = None,
    posts: Sequence[Post] = (at_once,),
) -> Week:
    """A night of 60 devices, or half of it; the first round is interrupted."""
    authority = Identity.generate()
    signing_keys.make_keys(folder / "offline", folder / "online", START, targets={})
    settings = week_settings(authority, url, folder / "online", goal_count=8)
    week = Week(
        WeekSetting(settings, folder, devices=60, days=days, restarted_at=0.0, server=server), authority, None, posts
    )
    try:
        week.run()
        check(week)
    finally:
        week.coordinator.close()
    return week


def check(lived: Week) -> None:
    found = summary(lived)
    ends = {(row["task"].rpartition("/")[2], row["end"]) for row in found["rounds"]}
    assert {("query-suggestions", "published"), ("evaluation", "published"), ("analytics", "published")} <= ends
    assert found["versions"] >= 1
    assert found["no_number_missing_or_twice"]
    assert found["restarts_inside_a_round"] == 1
    assert found["signed_models_refused"] == 0


def test_a_night_makes_a_version_judges_it_and_outlives_its_process(tmp_path: Path) -> None:
    with Workers(2).posts() as posts:  # devices compute in processes, as in the benchmark
        lived = live(tmp_path, f"sqlite:///{tmp_path / 'week.sqlite'}", days=0.45, posts=posts)
    assert lived.happened["requests repeated"] == 0
    assert lived.happened["check-ins"] > 60


def test_a_night_outlives_a_crash_of_the_database_server(
    tmp_path: Path, postgresql_server: PostgresServer, postgresql_url: str
) -> None:
    lived = live(tmp_path, postgresql_url, 0.3, postgresql_server)
    assert lived.happened["requests repeated"] > 0, "connections were lost with it"


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
