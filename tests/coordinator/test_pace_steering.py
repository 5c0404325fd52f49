"""Small populations coincide, large ones spread, and the estimate of how many there are follows what they were told."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pace import Deployment, simulate
from coordinator.operation.population import Population, willing
from coordinator.rounds.pace_steering import (
    come_back_after_s,
    delay_range,
    poll_after_s,
    poll_interval_s,
    spread_s,
)
from coordinator.settings import PaceSettings
from federated_protocol.messages import ComeBack

PACE = PaceSettings(shortest_s=1.0, longest_s=43_200.0)


def test_a_few_devices_are_asked_back_at_the_next_selection_together():
    delays = [
        come_back_after_s(0.0, None, [], 60.0, PACE, lambda u=u: u, active=50, places=100) for u in (0, 0.5, 0.99)
    ]
    assert max(delays) - min(delays) < 0.25 * max(delays)


def test_many_devices_spread_so_that_each_selection_sees_as_many_as_it_can_use():
    assert spread_s(1_000_000, 1000, 300.0) == pytest.approx(300 * 1_000_000 / 3000)
    first, width = delay_range(120.0, spread_s(1_000_000, 1000, 300.0), PACE)
    assert (first, first + width) == (120.0, 43_200.0)  # never longer than the longest


def test_the_devices_that_are_away_are_estimated_from_what_they_were_told(deployment):
    population = Population(deployment.coordinator.database)
    start = 3600.0 * 500_000
    for second in range(0, 3600, 4):  # 900 devices an hour, sent away for two hours: 1800 are away at any time
        population.told(7200.0, start + second)
    population.flush(start + 3600)
    assert population.active(start + 3601) == pytest.approx(1800)
    assert willing(0.0, 7200.0 * 225, start + 900) == pytest.approx(1800)


def test_an_hour_of_check_ins_raises_the_estimate_that_devices_are_told_by(deployment):
    for device in deployment.devices(3):
        assert isinstance(device.check_in(wants_round=False), ComeBack)
    deployment.coordinator.population.flush(deployment.clock.now)
    deployment.clock.advance(3600)
    assert deployment.coordinator.population.active(deployment.clock.now) > 0


def wait(
    answered: int, elapsed_s: float, *, cohort: int = 1000, idle_s: float = 0.0, remaining_s: float = 600.0
) -> float:
    pace = PaceSettings()
    return poll_after_s(cohort, elapsed_s, remaining_s, pace, 0.0, answered=answered, idle_s=idle_s)


def test_while_answers_come_in_a_device_sleeps_until_the_phase_is_likely_over():
    assert wait(500, 10.0) == pytest.approx(10.0)  # half took ten seconds, so does the other half
    assert wait(980, 49.0) == pytest.approx(1.2)  # the last ones are coming
    assert wait(50, 1.0) == poll_interval_s(1000)  # what a second has shown says little
    assert wait(10, 300.0) <= 4 * poll_interval_s(1000)
    assert wait(5, 10.0, cohort=50) < 1.0  # few devices may ask often


def test_where_nothing_comes_in_any_more_nobody_asks_often_or_around_the_deadline():
    shortest = poll_interval_s(1000)
    assert wait(980, 8.0, idle_s=5.0) == wait(0, 1.0) == shortest
    assert wait(980, 40.0, idle_s=30.0) == pytest.approx(10.0)
    assert wait(980, 400.0, idle_s=390.0) == 4 * shortest
    assert wait(980, 49.0, idle_s=5.0, remaining_s=3.0) > 3.0


@pytest.mark.parametrize(("devices", "highest"), [(400, 40.0), (60_000, 3.0)])
def test_a_simulated_day_fills_every_selection_and_has_no_stampede(devices, highest):
    deployment = Deployment(devices, 100, 1800.0, PACE, 300.0)
    day = simulate(deployment, np.random.default_rng(3))
    fixed = simulate(deployment, np.random.default_rng(3), fixed_s=600.0)
    assert day.filled > 0.9
    assert day.rate.mean() < fixed.rate.mean()
    busy = np.sort(day.rate)
    assert busy[-1] < highest * max(day.rate.mean(), 1e-9)
