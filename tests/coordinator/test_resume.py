"""A coordinator that is killed in any phase goes on from its database, and nothing is published twice or lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import func, select

from coordinator.app import create_app
from coordinator.rounds.states import RoundState
from coordinator.storage import round_store
from coordinator.storage.tables import messages, models, participants, results
from federated_protocol import wire
from federated_protocol.messages import AbandonReason, Finished, ModelArtifact, Phase, Selected


def count(deployment, table):
    with deployment.coordinator.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table))


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("answered", [0, 6])
def test_killed_in_a_phase_it_resumes_the_round(deployment, phase, answered):
    devices = deployment.select(10)
    for step in Phase:
        if step is phase:
            deployment.run_phase(step, devices[:answered])
            deployment.restart()
            deployment.run_phase(step, devices[answered:])
        else:
            deployment.run_phase(step, devices)
    assert deployment.state() == "published"
    assert isinstance(devices[0].get("unmask"), Finished)
    assert [model.version for model in deployment.coordinator.models.all()] == [0, 1]


def test_killed_while_selecting_those_who_joined_stay_joined(deployment):
    deployment.tick()
    devices = deployment.devices(10)
    for device in devices[:5]:
        device.check_in()
    deployment.restart()
    for device in devices[5:]:
        assert isinstance(device.check_in(), Selected)
    assert deployment.state() == "advertising"


@pytest.mark.parametrize("phase", list(Phase))
def test_killed_for_a_long_time_devices_get_a_moment_to_come_back_and_else_it_ends_cleanly(deployment, phase):
    devices = deployment.select(10)
    for step in Phase:
        if step is phase:
            break
        deployment.run_phase(step, devices)
    before = deployment.state()
    deployment.clock.advance(10_000)
    deployment.restart()
    deployment.tick()
    assert deployment.state() == before
    deployment.tick(16)
    assert deployment.state() == "abandoned"
    deployment.tick(2)
    assert deployment.state() == "selecting"


def test_killed_between_opening_the_sum_and_publishing_it_publishes_once(deployment, monkeypatch):
    devices = deployment.select(10)
    driver = deployment.coordinator.driver
    monkeypatch.setattr(driver, "_finish", lambda task, row, now: False)
    deployment.run_round(devices)
    assert deployment.state() == "aggregated"
    deployment.restart()
    deployment.tick()
    assert deployment.state() == "published"
    assert count(deployment, models) == 2


def test_a_plan_of_an_older_program_ends_the_round_as_restarted(deployment):
    devices = deployment.select(10)
    row = deployment.coordinator_rounds(1)[0]
    with deployment.coordinator.database.writing() as connection:
        round_store.change_round(connection, row.id, plan=b"\x80")
    deployment.restart()
    assert deployment.coordinator_rounds(1)[0].reason is AbandonReason.COORDINATOR_RESTARTED
    assert devices[0].get("plan").reason is AbandonReason.COORDINATOR_RESTARTED


def test_several_processes_on_one_database_publish_each_round_once(deployment):
    others = [create_app(deployment.settings, initial_model=deployment.initial, clock=deployment.clock) for _ in "ab"]
    coordinators = [deployment.coordinator, *(app.extensions["coordinator"] for app in others)]
    devices = deployment.select(10)
    for phase in Phase:
        answers = [device.message(phase) for device in devices]
        if phase is Phase.UNMASK:  # nobody may close the phase before all of them try at once
            for coordinator in coordinators:
                coordinator.wake = coordinator.intake._wake = lambda: None
        for device, message in zip(devices, answers, strict=True):
            device.post(phase, message)
    barrier = threading.Barrier(len(coordinators))

    def tick(coordinator):
        barrier.wait()
        coordinator.driver.tick(deployment.clock.now)

    threads = [threading.Thread(target=tick, args=(coordinator,)) for coordinator in coordinators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert deployment.state() == "published"
    assert [model.version for model in deployment.coordinator.models.all()] == [0, 1]
    for app in others:
        app.extensions["coordinator"].close()


def test_versions_survive_restarts_and_count_on(deployment):
    for version in (1, 2):
        deployment.run_round(deployment.select(10))
        artifact = deployment.coordinator.models.artifact(version)
        deployment.restart()
        assert deployment.coordinator.models.artifact(version) == artifact
    assert [(m.version, m.parent) for m in deployment.coordinator.models.all()] == [(0, 0), (1, 0), (2, 1)]
    assert [row.number for row in deployment.coordinator_rounds()] == [2, 1]


def test_round_messages_are_deleted_in_time_and_the_round_stays(deployment):
    devices = deployment.select(10)
    deployment.run_round(devices)
    assert count(deployment, messages) == 50
    deployment.tick(3601)
    assert [count(deployment, table) for table in (messages, results, participants)] == [0, 0, 0]
    row = next(row for row in deployment.coordinator_rounds() if row.state is RoundState.PUBLISHED)
    assert (row.inputs, row.purged) == (10, 1)
    assert devices[0].get("unmask").reason.value == "unknown_session"


def test_messages_can_be_kept_for_no_time_at_all(deploy):
    deployment = deploy(rounds={"keep_round_messages_s": 0.0})
    deployment.run_round(deployment.select(10))
    deployment.tick()
    assert count(deployment, messages) == 0


def test_an_update_that_no_honest_cohort_can_make_is_not_published_but_counted(deployment):
    devices = deployment.select(10)
    for phase in (Phase.ADVERTISE, Phase.SHARE):
        deployment.run_phase(phase, devices)
    forged = devices[0].vector()
    forged[: len(devices[0].update)] ^= np.uint32(1 << (devices[0].plan.codec.bits - 2))
    devices[0].post(Phase.MASKED_INPUT, devices[0].message(Phase.MASKED_INPUT, forged))
    deployment.run_phase(Phase.MASKED_INPUT, devices[1:])
    deployment.run_phase(Phase.CONFIRM, devices)
    deployment.run_phase(Phase.UNMASK, devices)
    row = deployment.coordinator_rounds(1)[0]
    assert (row.state.value, row.reason) == ("abandoned", AbandonReason.EVALUATION_GATE)
    assert count(deployment, models) == 1
    assert row.aggregate is None


@pytest.mark.parametrize(("liars", "state"), [(1, RoundState.PUBLISHED), (5, RoundState.ABANDONED)])
def test_wrong_shares_are_worked_around_or_end_the_round_by_name(deployment, liars, state):
    devices = deployment.select(10)
    for phase in (Phase.ADVERTISE, Phase.SHARE, Phase.MASKED_INPUT, Phase.CONFIRM):
        deployment.run_phase(phase, devices)
    for device in devices[:liars]:
        message = device.message(Phase.UNMASK)
        wrong = bytes(byte ^ 1 for byte in message.shares)
        device.post(Phase.UNMASK, type(message)(missing=message.missing, shares=wrong))
    deployment.run_phase(Phase.UNMASK, devices[liars:])
    row = deployment.coordinator_rounds(1)[0]
    assert row.state is state
    assert row.reason is (None if liars == 1 else AbandonReason.UNMASKING_FAILED)


def test_the_database_never_holds_an_unmasked_update(deployment, tmp_path):
    devices = deployment.select(10)
    deployment.run_round(devices)
    row = deployment.coordinator_rounds(1)[0]
    from federated_protocol.plan import counter_names
    from federated_protocol.update_codec import layout, pack

    plan = devices[0].plan
    lay = layout(plan.codec, len(counter_names(plan.metrics)))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert row.aggregate is None
    for device in devices:
        vector = device.vector()
        weight_and_counters = pack(vector, lay)[-40:]
        assert weight_and_counters not in stored


def test_a_published_artifact_is_served_byte_for_byte(deployment):
    deployment.run_round(deployment.select(10))
    status, data = deployment.call("GET", "/v1/models/1", None)
    assert status == 200
    artifact = wire.decode(data, ModelArtifact)
    assert (artifact.version, artifact.parent, artifact.bundle_digest) == (1, 0, "b" * 64)
    assert wire.encode(artifact) == data
