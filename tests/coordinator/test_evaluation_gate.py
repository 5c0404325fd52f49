"""A new version is judged in a round of its own before the first device is told of it."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.errors import SettingsError
from coordinator.experiments.evaluation import GateVerdict, evaluate, loss_change
from coordinator.operation.audit import newest_entries
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.releases.model_store import load_artifact
from coordinator.releases.rollout import all_rollouts, roll_back
from coordinator.reports import Reports
from coordinator.settings import validate
from coordinator.storage import round_store
from federated_protocol.messages import Phase, Selected
from federated_protocol.plan import LOSS_CLIP, LOSS_LEVELS, MetricSetting, TaskKind, counter_names
from suggestion_model.metrics import auc, log_loss
from tests.coordinator.judgements import SCALE, counters, spread, states

EDGES = tuple(np.arange(-6.0, 6.25, 0.5))


@pytest.fixture
def gated(deploy):
    return deploy(
        releases={"evaluation_gate": True, "evaluation_devices": 4, "rollout_stages": (40.0, 100.0)},
        metrics={"smallest_click_mass": 7.0},
    )


def trained(deployment, count=6):
    """Run a training round to its end."""
    devices = deployment.run_round(deployment.select(count))
    deployment.tick()
    return devices


def evaluate_with(deployment, count=6, counted=counters, **said):
    """Let ``count`` devices judge the version that waits."""
    devices = deployment.select(count)
    assert all(device.plan.kind is TaskKind.EVALUATION for device in devices)
    for device in devices:
        device.update, device.weight, device.counters = device.update * 0, 0.0, counted(device.plan, **said)
    deployment.run_round(devices)
    deployment.tick()


def test_nobody_is_told_of_a_version_that_was_not_judged_and_no_training_begins_on_it(gated):
    trained(gated)
    assert states(gated)[1] == ("candidate", 0.0)
    news = gated.device().check_in(wants_round=False)
    assert news.current.version == 0
    gated.tick(gated.settings.rounds.pause_s)
    with gated.coordinator.database.reading() as connection:
        assert round_store.running_round(connection, gated.settings.task) is None
        assert round_store.running_round(connection, gated.settings.evaluation_task).state.value == "selecting"


def test_a_version_that_is_no_worse_goes_to_the_first_stage_and_the_next_round_trains_on_it(gated):
    trained(gated)
    evaluate_with(gated)
    assert states(gated)[1] == ("staged", 40.0)
    with gated.coordinator.database.reading() as connection:
        found = evaluation_of(connection, gated.settings, 1)
        assert newest_entries(connection)[0].actor == "automatic"
    assert found.verdict is GateVerdict.PASSED
    assert (found.version, found.baseline_version, found.devices, found.clicks) == (1, 0, 6, 6.0)
    assert found.judged.auc == found.baseline.auc == 1.0
    devices = gated.select(6)
    assert {(d.plan.kind, d.plan.model_version) for d in devices} == {(TaskKind.TRAINING, 1)}


def test_the_evaluation_sets_the_threshold_of_the_version_that_goes_out(gated):
    trained(gated)
    evaluate_with(gated, counted=spread, lowest=-1.0, highest=4.0)
    assert states(gated) == {0: ("live", 100.0), 1: ("replaced", 0.0), 2: ("staged", 40.0)}
    with gated.coordinator.database.reading() as connection:
        (before, momentum), (after, kept) = (load_artifact(connection, version) for version in (1, 2))
        assert "threshold calibrated" in newest_entries(connection)[1].detail
        assert all_rollouts(connection, 40.0)[1].reason == "calibrated: version 2"
        assert evaluation_of(connection, gated.settings, 2).version == 1
    assert (after.weights, after.parent, kept) == (before.weights, 1, momentum)
    assert before.threshold < -6  # what the training round made of its counters
    assert after.threshold == pytest.approx(-0.5, abs=0.1)  # nine tenths of the clicks lie above it
    assert {device.plan.model_version for device in gated.select(6)} == {2}
    with gated.coordinator.database.writing() as connection:
        assert roll_back(connection, 2, now=gated.clock.now, actor="test", reason="test") == 3
        assert load_artifact(connection, 3)[0].parent == 0  # the candidate it was made from is not taken for good


def test_a_threshold_that_is_right_already_or_that_few_clicks_speak_against_stays(gated):
    trained(gated)
    evaluate_with(gated, counted=spread, lowest=-7.5, highest=6.0)  # nine tenths lie above -6.15
    assert states(gated)[1] == ("staged", 40.0)
    trained(gated)
    evaluate_with(gated)  # six clicks
    assert states(gated)[2] == ("staged", 40.0)


@pytest.mark.parametrize(
    ("said", "verdict"), [({"shift": 30, "kept": True}, "loss_rose"), ({"shift": 0, "kept": False}, "clicks_lost")]
)
def test_a_version_that_is_worse_is_withdrawn_before_anybody_ranked_with_it(gated, said, verdict):
    trained(gated)
    evaluate_with(gated, count=8, **said)
    assert states(gated)[1] == ("withdrawn", 0.0)
    assert states(gated)[2] == ("live", 100.0)
    with gated.coordinator.database.reading() as connection:
        assert verdict in newest_entries(connection)[0].detail
        assert evaluation_of(connection, gated.settings, 1).verdict.value == verdict
    assert {d.plan.model_version for d in gated.select(6)} == {2}


def test_too_few_devices_are_asked_again_and_in_the_end_the_version_is_withdrawn(gated):
    trained(gated)
    devices = gated.select(6)
    for device in devices:  # nobody has an offer that no training has seen
        device.update, device.weight = device.update * 0, 0.0
        device.counters = np.zeros(len(counter_names(device.plan.metrics)), np.uint64)
    gated.run_round(devices)
    gated.tick()
    assert states(gated)[1] == ("candidate", 0.0)
    gated.coordinator.tick(gated.clock.now + gated.settings.releases.evaluation_patience_s + 1)
    assert states(gated)[1] == ("withdrawn", 0.0)
    assert states(gated)[2] == ("live", 100.0)


def test_two_tasks_run_side_by_side_and_a_device_joins_the_one_that_judges(gated):
    training = gated.select(5)
    with gated.coordinator.database.writing() as connection:  # a version that came from elsewhere waits as well
        import msgspec

        from coordinator.releases.model_store import add_model
        from coordinator.releases.rollout import hold_back

        artifact, _ = load_artifact(connection, 0)
        other = msgspec.structs.replace(artifact, version=9, threshold=0.7)
        assert add_model(connection, other, optimizer_state=None, round_id=None, now=gated.clock.now)
        hold_back(connection, 9, now=gated.clock.now)
    gated.tick()
    late = gated.device(99)
    assert isinstance(late.check_in(), Selected)
    assert late.session != training[0].session
    gated.run_phase(Phase.ADVERTISE, training)
    with gated.coordinator.database.reading() as connection:
        assert round_store.running_round(connection, gated.settings.task).state.value == "sharing"


def test_figures_from_histograms_are_those_of_the_scores():
    rng = np.random.default_rng(1)
    logits = np.clip(rng.normal(-1, 1.5, 20_000), -5.9, 5.9)
    clicked = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    sums = dict.fromkeys(counter_names(MetricSetting((), EDGES, SCALE, paired=True)), 0)
    for name, values in (("offers", np.ones(20_000)), ("clicks", clicked)):
        found = np.bincount(np.searchsorted(EDGES, logits), SCALE * values, minlength=len(EDGES) + 1)
        for b, value in enumerate(found):
            sums[f"{name}_by_score/{b}"] = sums[f"baseline_{name}_by_score/{b}"] = int(value)
    found = evaluate(
        sums, EDGES, SCALE, versions=(1, 0), thresholds=(-1.0, 0.0), keep_clicks=0.9, smallest_click_mass=50.0,
        fewest_devices=2, level=0.95,
    )  # fmt: skip
    assert found.judged.auc == pytest.approx(auc(logits, clicked), abs=0.005)
    assert found.judged.log_loss == pytest.approx(log_loss(logits, clicked), abs=0.01)
    assert found.judged.clicks_kept == pytest.approx((logits[clicked] > -1).mean(), abs=0.02)
    assert found.judged.calibration_error < 0.02
    assert found.judged.best_threshold == pytest.approx(np.quantile(logits[clicked], 0.1), abs=0.1)
    assert found.verdict is GateVerdict.TOO_FEW


def test_the_change_of_the_loss_has_the_error_of_its_devices():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        levels = np.rint(np.clip(rng.normal(5, 20, 80), -LOSS_LEVELS, LOSS_LEVELS)).astype(int)
        sums = dict(zip(("loss_change/devices", "loss_change/sum", "loss_change/squares"),
                        (80, int((levels + LOSS_LEVELS).sum()), int((levels**2).sum())), strict=True))  # fmt: skip
        low, high = loss_change(sums).interval(0.95)
        covered += low <= 5 * LOSS_CLIP / LOSS_LEVELS <= high
    assert 0.91 < covered / 300 < 0.99


def test_a_task_with_noise_has_no_exact_evaluation(gated):
    import msgspec

    noisy = msgspec.structs.replace(gated.settings.privacy, noise_multiplier=1.0)
    with pytest.raises(SettingsError, match="evaluation_gate"):
        validate(msgspec.structs.replace(gated.settings, privacy=noisy))


def test_usage_is_counted_between_trainings_and_joins_what_training_counted(deploy):
    deployment = deploy(metrics={"analytics_every_s": 1.0}, rounds={"max_rounds": 1})
    trained(deployment)
    devices = deployment.select(5)
    assert {d.plan.kind for d in devices} == {TaskKind.ANALYTICS}
    names = counter_names(devices[0].plan.metrics)
    for device in devices:
        device.update, device.weight = device.update * 0, 0.0
        device.counters = np.array([3 * (name == "treatment/1/lines") for name in names], np.uint64)
    deployment.run_round(devices)
    deployment.tick()
    counted = {
        (u.arm, u.version): u
        for u in Reports(deployment.coordinator.database, deployment.settings).metrics().by_version
    }
    assert counted["treatment", 1].lines == 15
    assert counted["treatment", 0].lines > 0
    assert deployment.coordinator.models.current().version == 1
