"""A large round is cut into cohorts: each is summed by itself, and the model is made of those that agree."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.aggregation.deviation import deviant_cohorts, deviations
from coordinator.experiments.metric_store import usage_totals
from coordinator.privacy.ledger import spending
from coordinator.reports import Reports
from coordinator.rounds.cohorts import deal, number_of_cohorts
from coordinator.settings import RoundSettings
from coordinator.storage.round_store import history_of
from federated_protocol import wire
from federated_protocol.messages import Abandoned, AbandonReason, Finished, ModelArtifact, Phase, PlanAnswer, Selected

SIZE = 5


@pytest.fixture
def cut(deploy):
    """Sixteen devices make four cohorts of four."""
    return deploy(rounds={"goal_count": 16, "cohort_size": SIZE})


def alike(devices, seed=3):
    """Let honest devices want nearly the same."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=len(devices[0].update)) * 0.05
    for device in devices:
        device.update = common + rng.normal(size=len(common)) * 0.01
    return common


def by_session(devices):
    found = {}
    for device in devices:
        found.setdefault(device.session, []).append(device)
    return list(found.values())


def change(deployment):
    old, new = (
        np.frombuffer(wire.decode(deployment.coordinator.models.artifact(v), ModelArtifact).weights, "<f4")
        for v in (0, 1)
    )
    return new.astype(float) - old


def weighted_mean(devices):
    return sum(d.weight * d.update for d in devices) / sum(d.weight for d in devices)


def test_each_cohort_is_an_aggregation_of_its_own_and_all_of_them_make_one_model(cut, serve):
    transport = serve(cut.app)
    cut.tick()
    devices = cut.devices(16, transport)
    for device in devices:
        assert isinstance(device.check_in(), Selected)
    assert len({device.session for device in devices}) == 1
    for device in devices:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    cohorts = by_session(devices)
    assert [len(cohort) for cohort in cohorts] == [4] * 4
    assert len({cohort[0].plan.codec.rotation_seed for cohort in cohorts}) == 4
    cut.run_round(devices)
    rows = cut.coordinator_rounds()
    assert [(row.number, row.cohort, row.cohorts, row.state.value, row.inputs) for row in rows] == [
        (1, cohort, 4, "published", 4) for cohort in (1, 2, 3, 4)
    ]
    assert np.allclose(change(cut), weighted_mean(devices), atol=2e-3)
    assert cut.coordinator.models.current().participants == 16
    for device in devices:
        assert device.get("unmask") == Finished(current=device.get("unmask").current, participants=4)
    with cut.coordinator.database.reading() as connection:
        assert spending(connection, cut.settings.task).without_noise == 4  # a release each
    status = Reports(cut.coordinator.database, cut.settings).status(cut.clock.now)
    assert (status.published_rounds, status.abandoned_rounds) == (1, 0)
    cut.tick(2)
    assert cut.coordinator_rounds(1)[0].number == 2


def test_a_cohort_that_falls_short_is_abandoned_by_itself(cut):
    devices = cut.select(16)
    lost, *others = by_session(devices)
    cut.run_phase(Phase.ADVERTISE, devices)
    present = [device for cohort in others for device in cohort]
    cut.tick(20)
    cut.run_phase(Phase.SHARE, present)  # each cohort has deadlines of its own
    cut.tick(11)
    for phase in (Phase.MASKED_INPUT, Phase.CONFIRM, Phase.UNMASK):
        cut.run_phase(phase, present)
    reasons = {row.session: (row.state.value, row.reason) for row in cut.coordinator_rounds()}
    assert reasons.pop(lost[0].plan.session) == ("abandoned", AbandonReason.TOO_FEW_SHARED)
    assert set(reasons.values()) == {("published", None)}
    assert np.allclose(change(cut), weighted_mean(present), atol=2e-3)
    assert lost[0].get("share") == Abandoned(reason=AbandonReason.TOO_FEW_SHARED)


def test_with_too_few_cohorts_left_nothing_is_made_of_the_others(cut):
    devices = cut.select(16)
    first = by_session(devices)[0]
    cut.run_phase(Phase.ADVERTISE, devices)
    for phase in (Phase.SHARE, Phase.MASKED_INPUT, Phase.CONFIRM, Phase.UNMASK):
        cut.run_phase(phase, first)
        if phase is Phase.UNMASK:
            assert {row.state.value for row in cut.coordinator_rounds()} == {"sharing", "aggregated"}
            (live,) = Reports(cut.coordinator.database, cut.settings).status(cut.clock.now).live
            assert (live.state, len(live.cohorts)) == ("sharing", 4)
            assert [(p.status, p.answered, p.expected) for p in live.phases][:3] == [
                ("done", 16, 16), ("done", 16, 16), ("open", 4, 16),
            ]  # fmt: skip
            cut.tick(31)
    row = next(row for row in cut.coordinator_rounds() if row.session == first[0].plan.session)
    assert (row.state.value, row.reason, row.aggregate) == ("abandoned", AbandonReason.TOO_FEW_COHORTS, None)
    assert cut.coordinator.models.current().version == 0
    cut.tick(2)
    assert (cut.coordinator_rounds(1)[0].number, cut.state()) == (2, "selecting")  # somebody sent an input


@pytest.mark.parametrize("impossible", [False, True])
def test_a_cohort_whose_update_deviates_is_left_out_by_name(cut, impossible):
    devices = cut.select(16)
    common = alike(devices)
    poisoned, *others = by_session(devices)
    liar = poisoned[0]
    cut.run_phase(Phase.ADVERTISE, devices)
    cut.run_phase(Phase.SHARE, devices)
    liar.update, liar.weight = -10 * common, 1.0
    forged = liar.vector()
    if impossible:
        forged[: len(common)] ^= np.uint32(1 << (liar.plan.codec.bits - 2))
    liar.post(Phase.MASKED_INPUT, liar.message(Phase.MASKED_INPUT, forged))
    cut.run_phase(Phase.MASKED_INPUT, [device for device in devices if device is not liar])
    cut.run_phase(Phase.CONFIRM, devices)
    cut.run_phase(Phase.UNMASK, devices)
    rows = {row.session: row for row in cut.coordinator_rounds()}
    left_out = rows.pop(liar.plan.session)
    assert (left_out.state.value, left_out.reason) == ("abandoned", AbandonReason.DEVIANT_COHORT)
    assert {row.state.value for row in rows.values()} == {"published"}
    honest = [device for cohort in others for device in cohort]
    assert np.allclose(change(cut), weighted_mean(honest), atol=2e-3)
    assert liar.get("unmask") == Abandoned(reason=AbandonReason.DEVIANT_COHORT)
    with cut.coordinator.database.reading() as connection:
        last = history_of(connection, left_out.id)[-1]
        usage = usage_totals(connection, (cut.settings.task,))
    assert (last.event, last.reason, last.from_state) == ("rejected", "deviant_cohort", "aggregated")
    assert last.actor.startswith("process ")
    names = list(usage)
    assert sum(usage.values()) % len(honest) == 0  # devices count alike, and those of the cohort do not count
    assert names
    report = next(r for r in Reports(cut.coordinator.database, cut.settings).rounds() if r.reason)
    assert (report.cohort, report.cohorts, report.reason) == (left_out.cohort, 4, "deviant_cohort")


@pytest.mark.parametrize("phase", [Phase.SHARE, Phase.MASKED_INPUT, Phase.UNMASK])
def test_killed_while_its_cohorts_stand_in_different_phases_a_round_is_published_once(cut, phase):
    devices = cut.select(16)
    ahead, *behind = by_session(devices)
    cut.run_phase(Phase.ADVERTISE, ahead)
    for step in list(Phase)[1:]:
        cut.run_phase(step, ahead)
        if step is phase:
            break
    cut.restart()
    for cohort in behind:
        cut.run_round(cohort)
    for step in list(Phase)[list(Phase).index(phase) + 1 :]:
        cut.run_phase(step, ahead)
    assert {row.state.value for row in cut.coordinator_rounds()} == {"published"}
    assert [model.version for model in cut.coordinator.models.all()] == [0, 1]


def test_a_selection_is_cut_only_where_every_cohort_has_the_minimum():
    setting = RoundSettings(minimum_count=30, cohort_size=50)
    sizes = (20, 50, 59, 60, 100, 101, 1000)
    assert [number_of_cohorts(n, setting) for n in sizes] == [1, 1, 1, 2, 2, 3, 20]
    assert number_of_cohorts(1000, RoundSettings(cohort_size=0)) == 1
    for devices in sizes:
        assert len(min(deal(map(str.encode, map(str, range(devices))), number_of_cohorts(devices, setting),
                            np.random.default_rng(1).bytes), key=len)) >= min(devices, 30)  # fmt: skip


def test_who_keeps_whom_company_is_chance():
    devices = [bytes([n]) * 16 for n in range(200)]
    rng = np.random.default_rng(1)
    together = 0
    for _ in range(200):
        cohorts = deal(devices, 4, rng.bytes)
        assert sorted(device for cohort in cohorts for device in cohort) == devices
        together += sum(devices[0] in cohort and devices[1] in cohort for cohort in cohorts)
    assert 30 <= together <= 70  # 49 of 199 others share one's cohort


# -- deviation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cohorts", [4, 8, 16])
def test_honest_cohorts_are_hardly_ever_left_out_and_boosted_ones_always(cohorts):
    rng = np.random.default_rng(4)
    wrongly = missed = 0
    for _ in range(300):
        means = list(0.3 + rng.normal(size=(cohorts, 12)))
        wrongly += bool(deviant_cohorts(means, [40] * cohorts, 3.0))
        means[1] = means[1] * -10
        missed += deviant_cohorts(means, [40] * cohorts, 3.0) != {1}
    assert (wrongly <= 2, missed) == (True, 0)


def test_a_larger_cohort_is_held_to_its_smaller_error():
    rng = np.random.default_rng(5)
    means = [rng.normal(size=50) / np.sqrt(n) for n in (25, 25, 25, 25, 400)]
    means[-1] = means[-1] * 4  # as a cohort of 25 would scatter
    assert deviations(means, [25, 25, 25, 25, 400])[-1] > 3
    assert deviations(means, [25] * 5)[-1] < 1.5


def test_with_fewer_than_four_cohorts_and_with_the_check_off_none_is_left_out():
    means = [np.zeros(3), np.full(3, 1e-9), np.full(3, 9.0)]
    assert not deviant_cohorts(means, [5, 5, 5], 3.0)
    assert not deviant_cohorts([*means, np.zeros(3)], [5] * 4, 0.0)
