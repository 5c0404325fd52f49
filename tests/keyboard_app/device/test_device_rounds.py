"""Whole rounds: what comes of six devices that learn together, and what the coordinator is told."""

from __future__ import annotations

import msgspec
import numpy as np

from coordinator.experiments.evaluation import GateVerdict
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.releases.rollout import RolloutArms, roll_back, set_percent
from coordinator.settings import ReleaseSettings
from federated_protocol.messages import Phase
from keyboard_app.device.history import Ending
from keyboard_app.device.identity import HOLDBACK, TREATMENT
from keyboard_app.suggestions import SuggestionEngine
from suggestion_model.types import Context
from tests.keyboard_app.device.world import World, metric_sums, write_log


def test_six_devices_make_a_model_together_and_all_of_them_have_it(world: World) -> None:
    for _ in range(6):
        world.add_device()
    world.run(world.published())
    for device in world.devices:
        status = device.runtime.status
        assert status.rounds_joined == 1
        assert "joined round 1 with 5 others" in status.line
        assert "INSECURE DEMO" in status.line
        assert 0 < status.bytes_up_last_round <= status.bytes_up_total
        assert [entry.ending for entry in device.runtime.history] == [Ending.FINISHED]
        assert [entry.examples for entry in device.runtime.history] == [6]
        assert device.runtime.store.current.version == 1
        assert not np.array_equal(device.runtime.store.current.weights, device.runtime.store.v0.weights)


def test_the_coordinator_learns_the_sums_of_what_was_logged_and_counts_nothing_twice(world: World) -> None:
    for _ in range(6):
        world.add_device(examples=6)
    world.run(world.published())
    sums = metric_sums(world)
    assert sums["examples"] == 36
    assert sums["devices_with_examples"] == 6
    assert sums["treatment/0/lines"] == 6 * 12
    assert sums["treatment/0/offers"] == 36
    assert sums["treatment/0/clicks"] == 18
    scale = world.settings.metrics.propensity_scale
    bins = len(world.settings.score_edges) + 1
    assert sum(sums[f"clicks_by_score/{b}"] for b in range(bins)) == 18 * scale
    assert sum(sums[f"offers_by_score/{b}"] for b in range(bins)) == (5 + 20) * 6 * scale
    assert all(device.log.usage_unreported() == [] for device in world.devices)

    world.clock.now += 3600.0
    world.run(world.published(2))
    again = metric_sums(world)
    assert again["examples"] == 36
    assert again["treatment/0/lines"] == again["treatment/0/offers"] == 0


def test_lines_typed_during_a_round_wait_for_the_next_one(world: World) -> None:
    for _ in range(6):
        world.add_device()
    world.step_until_sending(Phase.SHARE)
    world.devices[0].log.count_line(TREATMENT, 0)
    world.run(world.published())
    assert metric_sums(world)["treatment/0/lines"] == 6 * 12
    assert [row.lines for row in world.devices[0].log.usage_unreported()] == [1]


def test_a_device_that_only_typed_takes_part_with_weight_zero(world: World) -> None:
    for _ in range(5):
        world.add_device()
    silent = world.add_device(examples=0)
    silent.log.count_line(TREATMENT, 0)
    world.run(world.published())
    sums = metric_sums(world)
    assert silent.runtime.status.rounds_joined == 1
    assert sums["devices_with_examples"] == 5
    assert sums["treatment/0/lines"] == 5 * 12 + 1


def test_a_device_with_nothing_to_say_only_asks_for_news(world: World) -> None:
    for _ in range(6):
        world.add_device()
    idle = world.add_device(examples=0)
    world.run(world.published())
    assert idle.runtime.status.rounds_joined == 0
    assert idle.runtime.status.model_version == 1


def test_the_holdback_trains_along_but_keeps_ranking_with_v0(world: World) -> None:
    for _ in range(5):
        world.add_device()
    held = world.add_device(arm=HOLDBACK, engine=True)
    world.run(world.published())
    status = held.runtime.status
    assert (status.arm, status.model_version, status.ranking_version, status.rounds_joined) == (HOLDBACK, 1, 0, 1)
    assert metric_sums(world)["holdback/0/offers"] == 6


def test_the_holdback_ranks_with_what_is_rolled_out_to_all_arms_and_stays_on_it(world: World) -> None:
    for _ in range(5):
        world.add_device()
    held = world.add_device(arm=HOLDBACK, engine=True)
    world.run(world.published())
    assert (held.runtime.status.model_version, held.runtime.status.ranking_version) == (1, 0)
    with world.coordinator.database.writing() as connection:
        set_percent(connection, 1, 100, RolloutArms.ALL, now=world.clock.now, actor="ada", reason="operator")
    write_log(held.log, 6, seed=50, arm=HOLDBACK, version=1)
    world.clock.now += 3600
    world.run(world.published(2))
    status = held.runtime.status
    assert (status.arm, status.model_version, status.ranking_version) == (HOLDBACK, 2, 1)
    assert metric_sums(world)["holdback/1/offers"] == 6
    with world.coordinator.database.writing() as connection:
        roll_back(connection, 1, now=world.clock.now, actor="ada", reason="operator")
    world.clock.now += 3600
    world.run(lambda: held.runtime.status.model_version == 3)
    assert held.runtime.status.ranking_version == 0


def test_a_new_model_ranks_the_very_next_key_press(world: World) -> None:
    for _ in range(5):
        world.add_device()
    device = world.add_device()
    device.runtime.stop()
    typing = world.start_device(device.home, engine=True)
    world.devices[-1] = typing
    engine = typing.runtime._choice._engine
    assert isinstance(engine, SuggestionEngine)
    context = Context("is there a thai restaurant in oakland")
    before = engine.suggest(context)
    world.run(lambda: typing.runtime.status.model_version == 1)
    after = engine.suggest(context)
    assert before is not None
    assert after is not None
    assert (before.model.version, after.model.version) == (0, 1)
    assert before.score != after.score


def test_devices_judge_a_version_on_new_offers_before_any_of_them_ranks_with_it(world: World) -> None:
    world.kill()
    gate = ReleaseSettings(evaluation_gate=True, evaluation_devices=4)
    world.settings = msgspec.structs.replace(world.settings, releases=gate)
    world.start()
    for _ in range(5):
        world.add_device()
    world.run(lambda: bool(world.rounds) and world.rounds[0].published_version == 1)
    assert {device.runtime.status.model_version for device in world.devices} == {0}
    for number, device in enumerate(world.devices):
        write_log(device.log, 6, seed=100 + number, arm=TREATMENT)
    world.clock.now += 3600  # all of them have rested
    for device in world.devices:
        device.due = world.clock.now
    world.run(world.published(1))
    with world.coordinator.database.reading() as connection:
        found = evaluation_of(connection, world.settings, 1)
    assert found is not None
    assert (found.verdict, found.devices, found.baseline_version) == (GateVerdict.PASSED, 5, 0)
    assert found.clicks > 0
    assert all(device.log.usage_unreported("later") for device in world.devices)  # judging claimed nothing
