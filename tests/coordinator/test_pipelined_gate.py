"""With the gate on, trainings and evaluations follow each other; each one's devices gather while the other reports."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.releases.rollout import roll_back
from coordinator.storage.round_store import newest_rounds, running_rounds_of
from federated_protocol.messages import AbandonReason, ComeBack, Pending, Phase, PlanAnswer, Selected
from federated_protocol.plan import TaskKind, counter_names
from tests.coordinator.judgements import counters, spread, states

REPORTING = (Phase.MASKED_INPUT, Phase.CONFIRM, Phase.UNMASK)
TRAINING, EVALUATION = "training", "evaluation"


@pytest.fixture
def gated(deploy):
    return deploy(
        rounds={"pipelined": True},
        releases={"evaluation_gate": True, "evaluation_devices": 4, "rollout_stages": (40.0, 100.0)},
        metrics={"smallest_click_mass": 7.0},
    )


def running(deployment):
    settings = deployment.settings
    with deployment.coordinator.database.reading() as connection:
        rows = running_rounds_of(connection, (settings.task, settings.evaluation_task))
    return [(TRAINING if row.task == settings.task else EVALUATION, row.state.value) for row in rows]


def newest(deployment, task):
    with deployment.coordinator.database.reading() as connection:
        return newest_rounds(connection, task, 1)[0]


def until_reporting(deployment, devices):
    """Bring a round so far that its masked inputs are awaited."""
    for phase in (Phase.ADVERTISE, Phase.SHARE):
        deployment.run_phase(phase, devices)
    deployment.tick()


def report(deployment, devices):
    for phase in REPORTING:
        deployment.run_phase(phase, devices)
    deployment.tick()


def joined(deployment, count=6):
    devices = deployment.devices(count)
    for device in devices:
        assert isinstance(device.check_in(), Selected)
    return devices


def given_plans(deployment, devices):
    """Every device's plan; of a selection that is not full, after its time."""
    if isinstance(devices[0].get("plan"), Pending):
        deployment.tick(deployment.settings.deadlines.selecting_s)
    for device in devices:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    return devices


def judging(devices, counted=counters, **said):
    """Tell the devices of an evaluation what to say of the version."""
    for device in devices:
        assert device.plan.kind is TaskKind.EVALUATION
        device.update, device.weight, device.counters = device.update * 0, 0.0, counted(device.plan, **said)
    return devices


def nothing(plan):
    """What a device says that has no offer of its own."""
    return np.zeros(len(counter_names(plan.metrics)), np.uint64)


def evaluation_that_reports(deployment, **said):
    """A version that is being judged, its devices' inputs awaited; whoever waits for the training after it."""
    training = deployment.select(6)
    until_reporting(deployment, training)
    waiting = joined(deployment)
    report(deployment, training)
    judges = judging(given_plans(deployment, waiting), **said)
    until_reporting(deployment, judges)
    return judges


def test_the_judges_gather_while_a_training_reports_and_are_asked_when_it_has_made_a_version(gated):
    training = gated.select(6)
    assert running(gated) == [(TRAINING, "advertising")]
    until_reporting(gated, training)
    assert running(gated) == [(TRAINING, "collecting"), (EVALUATION, "selecting")]
    waiting = joined(gated, 10)  # as many as there is room for
    assert isinstance(training[0].check_in(), ComeBack)  # nobody is in two rounds
    for phase in REPORTING:
        gated.tick(20)  # longer than a selection's own time
        assert isinstance(waiting[0].get("plan"), Pending)
        gated.run_phase(phase, training)
    gated.tick()
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    plan = waiting[0].plan
    assert (plan.kind, plan.model_version, plan.baseline.version) == (TaskKind.EVALUATION, 1, 0)
    assert states(gated)[1] == ("candidate", 0.0)


@pytest.mark.parametrize(
    ("said", "base", "verdict"),
    [
        ({}, 1, ("staged", 40.0)),
        ({"counted": spread, "lowest": -1.0, "highest": 4.0}, 2, ("replaced", 0.0)),
        ({"shift": 30}, 2, ("withdrawn", 0.0)),
    ],
    ids=["passed", "calibrated", "withdrawn"],
)
@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_the_next_training_gathers_while_the_judges_report_and_trains_on_what_they_decide(
    gated, said, base, verdict, killed
):
    judges = evaluation_that_reports(gated, **said)
    assert running(gated) == [(TRAINING, "selecting"), (EVALUATION, "collecting")]
    waiting = joined(gated, 10)
    gated.run_phase(Phase.MASKED_INPUT, judges)
    gated.tick(10)
    assert isinstance(waiting[0].get("plan"), Pending)
    if killed:
        gated.restart()
    for phase in (Phase.CONFIRM, Phase.UNMASK):
        gated.run_phase(phase, judges)
    gated.tick()
    assert states(gated)[1] == verdict
    for device in waiting:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    assert {(d.plan.kind, d.plan.model_version) for d in waiting} == {(TaskKind.TRAINING, base)}
    gated.run_round(waiting)
    gated.tick()
    assert states(gated)[base + 1] == ("candidate", 0.0)


def test_judges_are_let_go_when_the_training_made_no_version(gated):
    training = gated.select(6)
    until_reporting(gated, training)
    waiting = joined(gated)
    gated.run_phase(Phase.MASKED_INPUT, training[:2])
    gated.tick(31)
    assert waiting[0].get("plan").reason is AbandonReason.EVALUATION_GATE
    assert newest(gated, gated.settings.evaluation_task).still_in == 6
    gated.tick(gated.settings.rounds.pause_s)
    assert running(gated) == [(TRAINING, "selecting")]
    waiting[0].session = ""
    assert isinstance(waiting[0].check_in(), Selected)


def test_a_training_is_let_go_when_too_few_could_judge_so_that_its_devices_can(gated):
    judges = evaluation_that_reports(gated, counted=nothing)
    waiting = joined(gated)
    report(gated, judges)
    assert states(gated)[1] == ("candidate", 0.0)
    assert waiting[0].get("plan").reason is AbandonReason.EVALUATION_GATE
    gated.tick(gated.settings.rounds.pause_s)
    assert running(gated) == [(EVALUATION, "selecting")]
    for device in waiting:
        assert isinstance(device.check_in(), Selected)
    again = judging(given_plans(gated, waiting))
    assert again[0].plan.model_version == 1
    gated.run_round(again)
    gated.tick()
    assert states(gated)[1] == ("staged", 40.0)


def test_a_rollback_leaves_a_selection_be_its_base_is_not_chosen_yet(gated):
    judges = evaluation_that_reports(gated)
    waiting = joined(gated)
    with gated.coordinator.database.writing() as connection:
        assert roll_back(connection, 1, now=gated.clock.now, actor="ada", reason="operator") == 2
    assert judges[0].get("share").reason is AbandonReason.OPERATOR
    given_plans(gated, waiting)
    assert {(d.plan.kind, d.plan.model_version) for d in waiting} == {(TaskKind.TRAINING, 2)}


def test_after_the_last_training_its_version_is_still_judged_and_no_further_one_gathers(deploy):
    deployment = deploy(
        rounds={"pipelined": True, "max_rounds": 1}, releases={"evaluation_gate": True, "evaluation_devices": 4}
    )
    judges = evaluation_that_reports(deployment)
    assert running(deployment) == [(EVALUATION, "collecting")]
    report(deployment, judges)
    deployment.tick(deployment.settings.rounds.pause_s)
    assert running(deployment) == []


@pytest.mark.parametrize(
    ("pause_s", "beside"),
    [(2.0, [(TRAINING, "selecting"), (EVALUATION, "collecting")]), (3600.0, [(EVALUATION, "collecting")])],
)
def test_a_training_that_is_to_come_much_later_does_not_gather_beside_the_evaluation(deploy, pause_s, beside):
    deployment = deploy(
        rounds={"pipelined": True, "pause_s": pause_s},
        deadlines={"selecting_s": 90.0},
        releases={"evaluation_gate": True, "evaluation_devices": 4},
    )
    evaluation_that_reports(deployment)
    assert running(deployment) == beside


def test_whoever_is_turned_away_is_asked_back_when_the_judges_are_expected_to_gather(deploy):
    deployment = deploy(
        rounds={"pipelined": True}, releases={"evaluation_gate": True, "evaluation_devices": 4},
        pace={"longest_s": 600.0},
    )  # fmt: skip
    training = deployment.select(6)
    for phase in Phase:
        deployment.clock.advance(10)  # two phases until the inputs are awaited, three until the end
        deployment.run_phase(phase, training)
    deployment.tick()
    judges = judging(given_plans(deployment, joined(deployment)))
    deployment.run_round(judges)
    deployment.tick()
    deployment.select(6)
    assert 20 <= deployment.device(99).check_in().after_s <= 26


def test_trainings_and_evaluations_by_turns_on_postgresql(deploy, postgresql_url):
    deployment = deploy(
        database_url=postgresql_url,
        rounds={"pipelined": True, "goal_count": 8, "cohort_size": 4, "pause_s": 0.0},
        releases={"evaluation_gate": True, "evaluation_devices": 4},
    )
    devices = deployment.select(8)
    for _ in range(2):
        until_reporting(deployment, devices)
        judges = joined(deployment, 8)
        report(deployment, devices)
        judging(given_plans(deployment, judges))
        assert len({device.session for device in judges}) == 2
        until_reporting(deployment, judges)
        devices = joined(deployment, 8)
        report(deployment, judges)
        given_plans(deployment, devices)
    assert {device.plan.model_version for device in devices} == {2}
    assert states(deployment)[2] == ("live", 100.0)
