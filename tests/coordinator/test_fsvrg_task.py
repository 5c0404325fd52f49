"""FSVRG as a task: which sum comes next, what becomes of it, and what happens when something goes wrong in between."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from coordinator.app import create_app
from coordinator.errors import ReleaseError, SettingsError
from coordinator.releases.model_store import load_artifact, weights_of
from coordinator.releases.rollout import roll_back
from coordinator.reports import Reports
from coordinator.rounds.fsvrg import state_at
from coordinator.settings import validate
from coordinator.task_reports import TaskReports
from federated_protocol import wire
from federated_protocol.messages import Anchor, ComeBackReason, Phase
from federated_protocol.plan import TaskKind, VarianceReduction

D = 24
"""Weights of the model the fixtures begin with."""
L2 = 0.01


@pytest.fixture
def sparse(deploy):
    return deploy(
        algorithm="fsvrg",
        fsvrg={"l2": L2, "recount_every": 2, "weight_cap": 10, "gradient_step": 1e-6, "update_step": 1e-6},
    )


def counters(kind, number):
    """What device ``number`` says: three examples, the bias in all, one other feature of its own in two."""
    if kind is not TaskKind.FEATURE_COUNTS:
        return None
    own = np.zeros(D, np.uint64)
    own[0], own[1 + number % 3] = 3, 2
    named = np.array([3, 1, 0, 0], np.uint64)
    return np.concatenate([named, own, own > 0]).astype(np.uint64)


def run(deployment, count=6):
    """One round to its end; returns what it summed, and its devices."""
    devices = deployment.select(count)
    for number, device in enumerate(devices):
        device.counters = counters(device.plan.kind, number)
    deployment.run_round(devices)
    deployment.tick()
    assert deployment.state() == "published"
    return devices[0].plan.kind, devices


def known(deployment, version):
    with deployment.coordinator.database.reading() as connection:
        return state_at(connection, version)


def weights(deployment, version):
    with deployment.coordinator.database.reading() as connection:
        return weights_of(load_artifact(connection, version)[0])


def mean_of(devices):
    return sum(d.weight * d.update for d in devices) / sum(d.weight for d in devices)


def newest(deployment):
    return deployment.coordinator.models.current().version


def test_counts_gradient_and_descent_take_turns_and_features_are_counted_anew(sparse):
    summed = [(run(sparse)[0].value, newest(sparse)) for _ in range(7)]
    assert summed == [
        ("feature_counts", 0),
        ("gradient", 0),
        ("descent", 1),
        ("gradient", 1),
        ("descent", 2),
        ("feature_counts", 2),
        ("gradient", 2),
    ]


def test_what_is_known_is_the_sum_of_what_was_said_and_the_servers_step_is_scaled_by_holders(sparse):
    run(sparse)
    spread = known(sparse, 0).spread
    assert (spread.total, spread.devices) == (18, 6)
    assert spread.examples.tolist() == [18, 4, 4, 4] + [0] * 20
    assert spread.holders.tolist() == [6, 2, 2, 2] + [0] * 20
    _, devices = run(sparse)
    gradient = known(sparse, 0).gradient
    assert gradient == pytest.approx(mean_of(devices) + L2 * weights(sparse, 0), abs=0.02)
    _, devices = run(sparse)
    moved = weights(sparse, 1) - weights(sparse, 0)
    scale = np.array([1.0, 3.0, 3.0, 3.0] + [1.0] * 20)
    assert moved == pytest.approx(scale * mean_of(devices), abs=0.03)
    assert known(sparse, 1).gradient is None


def test_the_anchor_that_a_plan_names_is_what_devices_fetch(sparse):
    run(sparse)
    assert sparse.call("GET", "/v1/models/0/anchor", None)[0] == 404
    run(sparse)
    plan = sparse.select(6)[0].plan
    status, raw = sparse.call("GET", "/v1/models/0/anchor", None)
    assert status == 200
    reduction = plan.training.variance_reduction
    assert isinstance(reduction, VarianceReduction)
    assert reduction.anchor_digest == hashlib.sha256(raw).hexdigest()
    anchor = wire.decode(raw, Anchor)
    assert np.frombuffer(anchor.feature_share, "<f4")[:4].tolist() == pytest.approx([1, 4 / 18, 4 / 18, 4 / 18])
    assert np.frombuffer(anchor.gradient, "<f4") == pytest.approx(known(sparse, 0).gradient, rel=1e-6)


def test_a_coordinator_that_is_killed_between_the_sums_goes_on_where_it_stood(sparse):
    run(sparse)
    sparse.restart()
    assert run(sparse)[0] is TaskKind.GRADIENT
    sparse.restart()
    assert run(sparse)[0] is TaskKind.DESCENT
    assert newest(sparse) == 1


def test_a_sum_that_did_not_come_about_is_asked_for_again(sparse):
    run(sparse)
    devices = sparse.select(6)
    assert devices[0].plan.kind is TaskKind.GRADIENT
    sparse.run_phase(Phase.ADVERTISE, devices[:1])
    sparse.tick(100.0)
    assert sparse.state() == "abandoned"
    assert known(sparse, 0).gradient is None
    assert run(sparse)[0] is TaskKind.GRADIENT


def test_a_count_or_gradient_of_devices_without_examples_is_thrown_away(sparse):
    devices = sparse.select(6)
    for device in devices:
        device.counters = np.zeros(4 + 2 * D, np.uint64)
    sparse.run_round(devices)
    sparse.tick()
    assert sparse.state() == "abandoned"
    run(sparse)
    devices = sparse.select(6)
    for device in devices:
        device.weight = 0.0
    sparse.run_round(devices)
    sparse.tick()
    assert sparse.state() == "abandoned"
    assert known(sparse, 0).gradient is None


def test_a_version_that_is_rolled_back_to_has_its_gradient_still(sparse):
    for _ in range(3):
        run(sparse)
    with sparse.coordinator.database.writing() as connection:
        assert roll_back(connection, 1, now=sparse.clock.now, actor="test", reason="test") == 2
    assert weights(sparse, 2) == pytest.approx(weights(sparse, 0))
    assert run(sparse)[0] is TaskKind.DESCENT
    assert newest(sparse) == 3


def test_a_new_version_is_judged_before_the_next_sum(deploy):
    gated = deploy(algorithm="fsvrg", releases={"evaluation_gate": True, "evaluation_devices": 4})
    for _ in range(3):
        run(gated)
    devices = gated.select(6)
    assert {(d.plan.kind, d.plan.model_version) for d in devices} == {(TaskKind.EVALUATION, 1)}


def test_the_report_names_the_next_sum(sparse):
    reports = TaskReports(sparse.coordinator.database, sparse.settings)
    (task,) = reports.tasks()
    assert (task.kind, task.algorithm, task.next_sum) == ("training", "fsvrg", "feature_counts")
    run(sparse)
    assert reports.tasks()[0].next_sum == "gradient"


def test_the_list_of_rounds_says_what_each_summed_and_only_a_descent_makes_a_version(sparse):
    reports = Reports(sparse.coordinator.database, sparse.settings)
    for _ in range(3):
        run(sparse)
    found = [(report.summed, report.published_version) for report in reversed(reports.rounds())]
    assert found == [("feature_counts", None), ("gradient", None), ("descent", 1)]
    status = reports.status(sparse.clock.now)
    assert (status.published_rounds, status.versions_made) == (3, 1)
    sparse.select(6)
    assert reports.status(sparse.clock.now).running.summed == "gradient"


def test_rounds_end_after_so_many_versions(deploy):
    ending = deploy(algorithm="fsvrg", rounds={"max_rounds": 1})
    assert [run(ending)[0] for _ in range(3)][-1] is TaskKind.DESCENT
    ending.tick(ending.settings.rounds.pause_s)
    answer = ending.device().check_in()
    assert (answer.reason, answer.after_s) == (ComeBackReason.NO_ROUND, ending.settings.pace.longest_s)


def test_usage_is_counted_with_the_descent_alone(sparse):
    plans = [run(sparse)[1][0].plan for _ in range(3)]
    assert [bool(plan.metrics.slots) for plan in plans] == [False, False, True]
    assert [plan.kind.reports_usage for plan in plans] == [False, False, True]


def test_noise_and_exact_counts_contradict_each_other(settings):
    private = msgspec.structs.replace(
        settings, algorithm="fsvrg", privacy=msgspec.structs.replace(settings.privacy, noise_multiplier=1.0)
    )
    with pytest.raises(SettingsError, match="features are counted exactly"):
        validate(private)


def test_a_database_that_was_begun_with_the_ranker_does_not_go_on_with_the_trigger(settings, clock):
    create_app(settings, clock=clock).extensions["coordinator"].close()
    with pytest.raises(ReleaseError, match="another algorithm"):
        create_app(msgspec.structs.replace(settings, algorithm="fsvrg"), clock=clock)


def test_the_sums_of_a_rounds_cohorts_are_one_sum(deploy):
    cut = deploy(
        algorithm="fsvrg",
        fsvrg={"l2": L2, "weight_cap": 10, "gradient_step": 1e-6, "update_step": 1e-6},
        rounds={"cohort_size": 5},
    )
    run(cut, 10)
    assert {row.cohorts for row in cut.coordinator_rounds()} == {2}
    spread = known(cut, 0).spread
    assert (spread.total, spread.devices) == (30, 10)
    _, devices = run(cut, 10)
    assert len({device.session for device in devices}) == 2
    assert known(cut, 0).gradient == pytest.approx(mean_of(devices) + L2 * weights(cut, 0), abs=0.02)
    run(cut, 10)
    assert newest(cut) == 1
