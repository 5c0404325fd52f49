"""The next selection is open while the last round reports; nobody is in two rounds, and no update is stale."""

from __future__ import annotations

import pytest

from coordinator.rounds.states import RoundState
from coordinator.storage.round_store import history_of, running_rounds
from federated_protocol.messages import (
    AbandonReason,
    ComeBack,
    ComeBackReason,
    Finished,
    Pending,
    Phase,
    PlanAnswer,
    Selected,
)
from federated_protocol.privacy import check_privacy, epsilon_of

BEFORE_REPORTING = (Phase.ADVERTISE, Phase.SHARE)
REPORTING = (Phase.MASKED_INPUT, Phase.CONFIRM, Phase.UNMASK)


@pytest.fixture
def pipelined(deploy):
    return deploy(rounds={"pipelined": True})


def running(deployment):
    with deployment.coordinator.database.reading() as connection:
        return [(row.number, row.state.value) for row in running_rounds(connection, deployment.settings.task)]


def reporting(deployment, count=10):
    """A round whose masked inputs are awaited."""
    devices = deployment.select(count)
    for phase in BEFORE_REPORTING:
        deployment.run_phase(phase, devices)
    deployment.tick()
    return devices


def joined(deployment, count):
    devices = deployment.devices(count)
    for device in devices:
        assert isinstance(device.check_in(), Selected)
    return devices


def test_a_selection_opens_when_the_last_round_collects_and_is_configured_when_that_has_ended(pipelined):
    devices = pipelined.select(10)
    assert running(pipelined) == [(1, "advertising")]
    pipelined.run_phase(Phase.ADVERTISE, devices)
    pipelined.tick()
    assert running(pipelined) == [(1, "sharing")]
    pipelined.run_phase(Phase.SHARE, devices)
    pipelined.tick()
    assert running(pipelined) == [(1, "collecting"), (2, "selecting")]
    waiting = joined(pipelined, 10)  # as many as there is room for
    late = pipelined.device(99).check_in()
    assert (type(late), late.reason) == (ComeBack, ComeBackReason.ROUND_FULL)
    pipelined.run_phase(Phase.MASKED_INPUT, devices)
    assert isinstance(waiting[0].get("plan"), Pending)
    for phase in (Phase.CONFIRM, Phase.UNMASK):
        pipelined.run_phase(phase, devices)
    assert running(pipelined) == [(2, "selecting")]
    assert isinstance(waiting[0].get("plan"), Pending)  # the pause between rounds holds
    pipelined.tick(pipelined.settings.rounds.pause_s)
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
        assert (device.plan.model_version, device.plan.round) == (1, 2)  # the model that round made
    pipelined.run_round(waiting)
    assert [model.version for model in pipelined.coordinator.models.all()] == [0, 1, 2]
    assert isinstance(devices[0].get("unmask"), Finished)


def test_a_device_in_a_round_joins_no_other_until_it_is_out_or_the_round_has_ended(pipelined):
    devices = reporting(pipelined)
    again = devices[0].check_in()
    assert (type(again), again.reason) == (ComeBack, ComeBackReason.PACE)
    joined(pipelined, 3)
    pipelined.run_phase(Phase.MASKED_INPUT, devices[2:])
    pipelined.tick(31)  # the first two missed the phase: they are out
    devices[0].session = ""
    assert isinstance(devices[0].check_in(), Selected)
    assert isinstance(devices[2].check_in(), ComeBack)
    for phase in (Phase.CONFIRM, Phase.UNMASK):
        pipelined.run_phase(phase, devices[2:])
    assert isinstance(devices[2].check_in(), Selected)


@pytest.mark.parametrize("phase", REPORTING)
@pytest.mark.parametrize("answered", [0, 6])
def test_killed_with_a_selection_beside_a_round_both_go_on(pipelined, phase, answered):
    devices = reporting(pipelined)
    waiting = joined(pipelined, 5)
    for step in REPORTING:
        if step is phase:
            pipelined.run_phase(step, devices[:answered])
            pipelined.restart()
            pipelined.run_phase(step, devices[answered:])
        else:
            pipelined.run_phase(step, devices)
    waiting += joined(pipelined, 5)
    pipelined.tick(pipelined.settings.rounds.pause_s)
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    pipelined.run_round(waiting)
    assert [model.version for model in pipelined.coordinator.models.all()] == [0, 1, 2]


def test_those_who_were_in_the_round_before_have_the_time_of_a_selection_to_come(pipelined):
    devices = reporting(pipelined)
    joined(pipelined, 2)
    for phase in REPORTING:
        pipelined.tick(25)  # the selection is open for longer than its time when the round ends
        pipelined.run_phase(phase, devices)
    pipelined.tick(20)
    assert pipelined.state() == "selecting"
    for device in devices[:2]:
        assert isinstance(device.check_in(), Selected)
    pipelined.tick(10)
    assert (pipelined.state(), pipelined.coordinator_rounds(1)[0].still_in) == ("advertising", 4)


def test_when_the_round_before_fails_the_selection_beside_it_goes_on_under_its_number(pipelined):
    devices = reporting(pipelined)
    waiting = joined(pipelined, 10)
    pipelined.run_phase(Phase.MASKED_INPUT, devices[:2])
    pipelined.tick(31)
    assert [row.reason for row in pipelined.coordinator_rounds()][1] is AbandonReason.TOO_FEW_INPUTS
    pipelined.tick(pipelined.settings.rounds.pause_s)
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    assert (waiting[0].plan.model_version, waiting[0].plan.round, waiting[0].plan.attempt) == (0, 2, 1)


@pytest.mark.parametrize(("pipelined", "soonest", "latest"), [(False, 50, 65), (True, 20, 26)])
def test_whoever_is_turned_away_is_asked_back_for_the_selection_beside_the_round(deploy, pipelined, soonest, latest):
    deployment = deploy(rounds={"pipelined": pipelined}, pace={"longest_s": 600.0})
    devices = deployment.select(10)
    for phase in Phase:
        deployment.clock.advance(10)  # two phases until the inputs are awaited, three until the end
        deployment.run_phase(phase, devices)
    deployment.select(10)
    assert soonest <= deployment.device(99).check_in().after_s <= latest


def test_an_operator_ends_the_round_and_the_selection_beside_it(pipelined):
    reporting(pipelined)
    waiting = joined(pipelined, 2)
    assert pipelined.stop_rounds()
    assert waiting[0].get("plan").reason is AbandonReason.OPERATOR
    with pipelined.coordinator.database.reading() as connection:
        rows = pipelined.coordinator_rounds()
        assert [history_of(connection, row.id)[-1].actor for row in rows] == ["ada", "ada"]


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": {"pipelined": False}},
        {"rounds": {"pipelined": True, "max_rounds": 1}},
        {"rounds": {"pipelined": True, "pause_s": 3600.0}},
    ],
    ids=["off", "last round", "long pause"],
)
def test_no_selection_opens_early_where_the_round_under_way_decides_about_it_or_devices_would_wait_long(
    deploy, changes
):
    deployment = deploy(**changes)
    reporting(deployment)
    assert running(deployment) == [(1, "collecting")]
    assert deployment.coordinator_rounds(1)[0].state is RoundState.COLLECTING


@pytest.mark.parametrize(
    ("sums", "beside"), [(1.5, [(1, "collecting")]), (2.5, [(1, "collecting"), (2, "selecting")])], ids=["one", "two"]
)
def test_with_noise_a_selection_opens_early_if_the_budget_bears_both_rounds(deploy, tmp_path, sums, beside):
    def noisy(budget):
        return deploy(
            database_url=f"sqlite:///{tmp_path / f'{budget}.sqlite'}",
            rounds={"pipelined": True},
            privacy={"noise_multiplier": 1.0, "epsilon_budget": budget},
            codec={"step": 0.02},
        )

    plan = noisy(100.0).select(10)[0].plan
    deployment = noisy(epsilon_of(sums * check_privacy(plan), plan.noise.delta))
    devices = reporting(deployment)
    assert running(deployment) == beside
    for phase in REPORTING:
        deployment.run_phase(phase, devices)
    deployment.tick()
    assert [model.version for model in deployment.coordinator.models.all()] == [0, 1]
    if len(beside) == 2:
        waiting = joined(deployment, 10)
        deployment.tick(deployment.settings.rounds.pause_s)
        assert isinstance(waiting[0].fetch_plan(), PlanAnswer)
        assert waiting[0].plan.model_version == 1
        for device in waiting[1:]:
            device.fetch_plan()
        for phase in BEFORE_REPORTING:
            deployment.run_phase(phase, waiting)
        deployment.tick()
        assert running(deployment) == [(2, "collecting")]  # a third one cannot be paid for


def test_pipelined_rounds_of_several_cohorts_run_on_postgresql(deploy, postgresql_url):
    deployment = deploy(
        database_url=postgresql_url, rounds={"pipelined": True, "goal_count": 8, "cohort_size": 4, "pause_s": 0.0}
    )
    devices = reporting(deployment, 8)
    waiting = joined(deployment, 8)
    assert len({device.session for device in devices}) == 2
    for phase in REPORTING:
        deployment.run_phase(phase, devices)
    deployment.tick()
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    deployment.run_round(waiting)
    assert [model.version for model in deployment.coordinator.models.all()] == [0, 1, 2]
