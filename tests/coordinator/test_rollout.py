"""Staged rollout, rollback by hand and by itself, the kill switch."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from coordinator.errors import ReleaseError
from coordinator.experiments import metric_store
from coordinator.operation.audit import newest_entries
from coordinator.releases import rollout
from coordinator.releases.model_store import add_model, current_model, load_artifact
from coordinator.reports import Reports
from coordinator.rounds.states import RoundEvent, RoundState
from coordinator.storage import round_store
from federated_protocol import wire
from federated_protocol.messages import AbandonReason, ComeBack, Finished, Phase, Selected

DEVICES = [bytes([i, j]) * 8 for i in range(40) for j in range(25)]


def published(deployment, count):
    """Publish versions 1..count, each on top of the one before."""
    with deployment.coordinator.database.writing() as connection:
        for version in range(1, count + 1):
            artifact = msgspec.structs.replace(
                deployment.initial, version=version, parent=version - 1, threshold=version / 10
            )
            assert add_model(connection, artifact, optimizer_state=None, round_id=None, now=deployment.clock.now)


def offered(deployment, device, first=100.0):
    with deployment.coordinator.database.reading() as connection:
        return rollout.offered_notice(connection, device, first).version


def test_buckets_spread_devices_evenly():
    buckets = np.array([rollout.rollout_bucket(device) for device in DEVICES])
    assert 0 <= buckets.min() <= buckets.max() < 100
    assert abs((buckets < 10).mean() - 0.1) < 0.04


def test_a_stage_reaches_its_share_and_the_next_stage_contains_it(deployment):
    published(deployment, 2)
    reached = {}
    for percent in (10, 50, 100):
        with deployment.coordinator.database.writing() as connection:
            rollout.set_percent(connection, 2, percent, now=1.0, actor="test", reason="test")
        reached[percent] = {device for device in DEVICES if offered(deployment, device) == 2}
    assert abs(len(reached[10]) / len(DEVICES) - 0.1) < 0.04
    assert reached[10] < reached[50] < reached[100] == set(DEVICES)


def test_a_version_begins_with_the_first_stage_before_anybody_decides(deployment):
    published(deployment, 1)
    share = np.mean([offered(deployment, device, first=20.0) for device in DEVICES])
    assert abs(share - 0.2) < 0.05


def to_all(deployment, version, percent=100.0, arms=rollout.RolloutArms.ALL):
    with deployment.coordinator.database.writing() as connection:
        rollout.set_percent(connection, version, percent, arms, now=1.0, actor="test", reason="test")


def told(deployment, device):
    """What the two arms of a device would rank with."""
    with deployment.coordinator.database.reading() as connection:
        notice = rollout.offered_notice(connection, device, 100.0)
    return notice.version, 0 if notice.holdback is None else notice.holdback.version


def test_a_version_goes_to_the_treatment_arm_until_it_is_rolled_out_to_all(deployment):
    published(deployment, 3)
    assert told(deployment, DEVICES[0]) == (3, 0)
    to_all(deployment, 1)
    assert {told(deployment, device) for device in DEVICES} == {(3, 1)}
    to_all(deployment, 2, percent=30)
    reached = {device for device in DEVICES if told(deployment, device) == (3, 2)}
    assert abs(len(reached) / len(DEVICES) - 0.3) < 0.05
    assert {told(deployment, device) for device in DEVICES if device not in reached} == {(3, 1)}
    to_all(deployment, 2, arms=rollout.RolloutArms.TREATMENT)
    assert {told(deployment, device) for device in DEVICES} == {(3, 1)}


def test_a_stage_by_itself_leaves_the_arms_as_they_were(deploy):
    deployment = deploy(releases={"rollout_stages": (10.0, 100.0), "stage_s": 100.0})
    published(deployment, 1)
    to_all(deployment, 1, percent=10)
    deployment.coordinator.steward.tick(deployment.clock.now)
    with deployment.coordinator.database.reading() as connection:
        found = rollout.all_rollouts(connection, 10.0)[1]
    assert (found.percent, found.arms) == (100, rollout.RolloutArms.ALL)


def test_the_holdback_leaves_a_withdrawn_version_for_the_one_it_had_before(deployment):
    published(deployment, 3)
    to_all(deployment, 1)
    to_all(deployment, 3)
    assert told(deployment, DEVICES[0]) == (3, 3)
    with deployment.coordinator.database.writing() as connection:
        assert rollout.roll_back(connection, 3, now=9.0, actor="ada", reason="bad") == 4
    assert told(deployment, DEVICES[0]) == (4, 1)


def test_what_the_holdback_ranks_with_is_what_plans_count_and_versions_are_compared_with(deployment):
    published(deployment, 2)
    count_usage(deployment, "s", {("holdback", 0): 0.08, ("treatment", 1): 0.08, ("treatment", 2): 0.08})
    reports = Reports(deployment.coordinator.database, deployment.settings)
    assert {c.version: (c.compared_with, c.holdback_devices > 0) for c in reports.comparisons()} == {
        1: (0, True),
        2: (0, True),
    }
    to_all(deployment, 1)
    assert {c.version: (c.compared_with, c.holdback_devices > 0) for c in reports.comparisons()} == {
        1: (0, True),  # the evidence on which it was rolled out
        2: (1, False),  # begins anew
    }
    with deployment.coordinator.database.writing() as connection:
        assert round_store.move(
            connection, round_store.running_round(connection, deployment.settings.task), RoundEvent.STOPPED, 1.0,
            reason=AbandonReason.OPERATOR,
        )  # fmt: skip
    plan = deployment.select(6)[0].plan
    assert [slot.version for slot in plan.metrics.slots if slot.arm == "holdback"] == [1]


def test_a_version_that_people_click_less_than_the_holdbacks_new_one_is_rolled_back(deployment):
    published(deployment, 2)
    to_all(deployment, 1)
    count_usage(deployment, "s", {("holdback", 1): 0.09, ("treatment", 1): 0.09, ("treatment", 2): 0.01})
    assert deployment.coordinator.steward.tick(deployment.clock.now) == 3
    assert told(deployment, DEVICES[0]) == (3, 1)


def test_check_ins_and_finished_rounds_tell_each_device_its_own_version(deploy):
    deployment = deploy(releases={"rollout_stages": (40.0, 100.0)})
    devices = deployment.run_round(deployment.select(8))
    deployment.tick()
    told = [device.get(Phase.UNMASK.value) for device in devices]
    assert all(isinstance(answer, Finished) for answer in told)
    for device, answer in zip(devices, told, strict=True):
        expected = 1 if rollout.rollout_bucket(device.identity.fingerprint) < 40 else 0
        assert answer.current.version == expected
        news = device.check_in(wants_round=False)
        assert isinstance(news, ComeBack)
        assert news.current.version == expected


def test_a_stage_follows_the_other_by_itself(deploy):
    deployment = deploy(releases={"rollout_stages": (10.0, 50.0, 100.0), "stage_s": 100.0})
    published(deployment, 1)
    steward = deployment.coordinator.steward
    states = []
    for _ in range(4):
        deployment.clock.advance(101)
        steward.tick(deployment.clock.now)
        with deployment.coordinator.database.reading() as connection:
            states.append(rollout.all_rollouts(connection, 10.0)[1])
    assert [state.percent for state in states] == [50, 100, 100, 100]
    assert states[-1].state == rollout.LIVE


def test_rolling_back_publishes_the_good_weights_again_and_withdraws_all_that_grew_on_the_bad(deployment):
    published(deployment, 4)
    with deployment.coordinator.database.writing() as connection:
        version = rollout.roll_back(connection, 3, now=9.0, actor="ada", reason="bad")
        assert version == 5
        again, _ = load_artifact(connection, 5)
        assert (again.parent, again.threshold) == (2, 0.2)
        states = {v: r.state for v, r in rollout.all_rollouts(connection, 100.0).items()}
        assert states == {0: "live", 1: "live", 2: "live", 3: "withdrawn", 4: "withdrawn", 5: "live"}
        assert current_model(connection).version == 5
        assert newest_entries(connection)[0].actor == "ada"
    assert {offered(deployment, device) for device in DEVICES[:50]} == {5}


def test_a_round_on_a_withdrawn_base_is_abandoned_and_the_next_begins_on_the_good_one(deployment):
    published(deployment, 2)
    deployment.select(6)
    with deployment.coordinator.database.writing() as connection:
        rollout.roll_back(connection, 2, now=deployment.clock.now, actor="test", reason="bad")
    assert deployment.state() == "abandoned"
    deployment.run_round(deployment.select(6))
    deployment.tick()
    newest = deployment.coordinator_rounds(1)[0]
    assert newest.state is RoundState.PUBLISHED
    assert (newest.base_version, newest.published_version) == (3, 4)


@pytest.mark.parametrize(("bad", "words"), [(0, "version 0"), (9, "no version 9")])
def test_what_cannot_be_rolled_back_is_explained(deployment, bad, words):
    published(deployment, 1)
    with deployment.coordinator.database.writing() as connection, pytest.raises(ReleaseError, match=words):
        rollout.roll_back(connection, bad, now=1.0, actor="test", reason="bad")


def test_a_withdrawn_version_never_comes_back(deployment):
    published(deployment, 2)
    with deployment.coordinator.database.writing() as connection:
        rollout.roll_back(connection, 2, now=1.0, actor="test", reason="bad")
        with pytest.raises(ReleaseError, match="withdrawn"):
            rollout.set_percent(connection, 2, 50, now=1.0, actor="test", reason="no")
        with pytest.raises(ReleaseError, match="withdrawn"):
            rollout.roll_back(connection, 2, now=1.0, actor="test", reason="bad")


def test_the_kill_switch_stops_rounds_until_resumed(deployment):
    with deployment.coordinator.database.writing() as connection:
        rollout.pause_rounds(connection, True, now=1.0, actor="test")
    deployment.tick(10)
    assert deployment.state() == "none"
    with deployment.coordinator.database.writing() as connection:
        rollout.pause_rounds(connection, False, now=1.0, actor="test")
    deployment.tick(10)
    assert deployment.state() == "selecting"
    assert isinstance(deployment.device().check_in(), Selected)


def count_usage(deployment, session, rates, devices=2000):
    """Store the counters of a sum as if people had clicked at these rates."""
    rng = np.random.default_rng(1)
    sums = {"devices/treatment": devices, "devices/holdback": round(devices / 19)}
    for (arm, version), rate in rates.items():
        n = devices if arm == "treatment" else round(devices / 19)
        m = rng.poisson(30, n) + 1
        c = rng.binomial(m, rng.beta(rate * 5.6, (1 - rate) * 5.6, n))
        terms = (len(m), c.sum(), m.sum(), (c * c).sum(), (m * m).sum(), (c * m).sum())
        slot = dict(zip(("n", "c", "m", "cc", "mm", "cm"), map(int, terms), strict=True))
        sums |= {f"{arm}/{version}/{name}": value for name, value in slot.items()}
    with deployment.coordinator.database.writing() as connection:
        round_store.open_round(
            connection, task=deployment.settings.task, number=1, attempt=1, session=session,
            base_version=0, quorum=2, now=1.0, deadline=1.0,
        )  # fmt: skip
        row = round_store.running_round(connection, deployment.settings.task)
        metric_store.add_sums(connection, row.id, sums)


def test_a_version_that_people_click_less_is_rolled_back_by_itself(deployment):
    published(deployment, 2)
    count_usage(deployment, "s", {("holdback", 0): 0.08, ("treatment", 1): 0.09, ("treatment", 2): 0.01})
    assert deployment.coordinator.steward.tick(deployment.clock.now) == 3
    with deployment.coordinator.database.reading() as connection:
        assert load_artifact(connection, 3)[0].parent == 1
        entry = newest_entries(connection)[0]
    assert (entry.actor, entry.action) == ("automatic", "rollback")
    assert "ctr_dropped" in entry.detail
    assert deployment.coordinator.steward.tick(deployment.clock.now) is None


def test_an_equal_version_stays(deployment):
    published(deployment, 1)
    count_usage(deployment, "s", {("holdback", 0): 0.08, ("treatment", 1): 0.08})
    assert deployment.coordinator.steward.tick(deployment.clock.now) is None


def test_automatic_rollback_can_be_switched_off(deploy):
    deployment = deploy(releases={"automatic_rollback": False})
    published(deployment, 1)
    count_usage(deployment, "s", {("holdback", 0): 0.08, ("treatment", 1): 0.01})
    assert deployment.coordinator.steward.tick(deployment.clock.now) is None


def test_artifacts_of_a_rollback_are_served_like_any_other(deployment):
    published(deployment, 1)
    with deployment.coordinator.database.writing() as connection:
        version = rollout.roll_back(connection, 1, now=1.0, actor="test", reason="bad")
    status, raw = deployment.call("GET", f"/v1/models/{version}", None)
    assert status == 200
    assert wire.decode(raw, type(deployment.initial)).weights == deployment.initial.weights
