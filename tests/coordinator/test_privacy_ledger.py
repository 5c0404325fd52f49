"""Private rounds: noise in the plan, every release charged, no round beyond the budget, epsilon as accounted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.errors import ReleaseError, SettingsError
from coordinator.operation import backup
from coordinator.operation.high_water import high_water_path
from coordinator.privacy import EpsilonReporter, accounted_epsilon, privacy_sentence, spending, spending_of_all
from coordinator.reports import Reports
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.tasks import AnalyticsTask, TrainingTask
from coordinator.settings import PrivacySettings, Settings, validate
from coordinator.storage import Database
from federated_protocol.messages import AbandonReason, ComeBack, ComeBackReason, Phase
from federated_protocol.plan import NO_DP_GUARANTEE, TaskKind, counter_names
from federated_protocol.privacy import check_privacy, epsilon_of, largest_rho, usage_vector
from federated_protocol.update_codec import layout
from keyboard_app.device.policy import DevicePolicy

# A cohort of five with one of them possibly corrupt, and coarse steps: small numbers, real noise.
PRIVATE = {
    "privacy": {"noise_multiplier": 1.0, "epsilon_budget": 12.0, "corrupt_fraction": 0.2},
    "rounds": {"goal_count": 5, "minimum_count": 4, "smallest_aggregate": 3},
    "codec": {"clip": 1.0, "step": 0.05},
}


def run_round(deployment: Any) -> list[Any]:
    devices: list[Any] = deployment.select(5)
    deployment.run_round(devices)
    deployment.tick(1.0)
    return devices


def ledger(deployment: Any) -> Any:
    with deployment.coordinator.database.reading() as connection:
        return spending(connection, deployment.settings.task)


def test_a_private_round_publishes_a_model_and_charges_its_sum(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    devices = run_round(deployment)
    assert deployment.state() == "published"
    plan = devices[0].plan
    rho = check_privacy(plan)
    assert rho == pytest.approx(0.5, rel=0.1)
    assert ledger(deployment).rhos == (pytest.approx(rho),)


def test_in_a_private_round_nothing_travels_outside_the_noised_vector(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    plan = run_round(deployment)[0].plan
    assert counter_names(plan.metrics) == ()
    assert [field.name for field in layout(plan.codec, 0).fields] == ["update"]
    assert Reports(deployment.coordinator.database, deployment.settings).metrics().by_version == ()


def test_usage_of_a_private_task_is_estimated_inside_the_noised_vector_and_charged_to_the_same_budget(
    deploy: Any,
) -> None:
    rounds = PRIVATE["rounds"] | {"max_rounds": 1}
    deployment = deploy(**(PRIVATE | {"rounds": rounds, "metrics": {"analytics_every_s": 1.0}}))
    training = check_privacy(run_round(deployment)[0].plan)
    deployment.tick(1.0)
    devices = deployment.select(5)
    plan = devices[0].plan
    assert plan.kind is TaskKind.ANALYTICS
    assert [field.name for field in layout(plan.codec, 0).fields] == ["update"]
    DevicePolicy(smallest_aggregate=3, threat=plan.aggregation.threat).check(plan, 999)
    for device in devices:
        device.update = usage_vector(plan.metrics, {"treatment/1/lines": 80, "treatment/1/offers": 9})
    deployment.run_round(devices)
    deployment.tick(1.0)
    reports = Reports(deployment.coordinator.database, deployment.settings)
    found = {(u.arm, u.version): u for u in reports.metrics().by_version}
    assert set(found) == {("holdback", 0), ("treatment", 0), ("treatment", 1)}
    for usage, lines, offers in ((found["treatment", 1], 400, 45), (found["holdback", 0], 0, 0)):
        assert usage.offers_noise == pytest.approx(33 * math.sqrt(5 / 2), rel=0.1)
        assert usage.lines_noise == pytest.approx(8 * usage.offers_noise, rel=0.01)
        assert abs(usage.lines - lines) < 6 * usage.lines_noise
        assert abs(usage.offers - offers) < 6 * usage.offers_noise
    assert reports.comparisons() == ()
    with deployment.coordinator.database.reading() as connection:
        total = spending_of_all(connection, deployment.settings)
        assert sorted(total.rhos) == pytest.approx(sorted([training, check_privacy(plan)]))
        assert f"epsilon {total.epsilon(1e-6):.2f} of 12" in privacy_sentence(connection, deployment.settings)


def test_no_usage_is_counted_beyond_the_budget_either(deploy: Any) -> None:
    deployment = deploy(**(PRIVATE | {"privacy": PRIVATE["privacy"] | {"epsilon_budget": 6.5}}))
    run_round(deployment)
    metrics = msgspec.structs.replace(deployment.settings.metrics, analytics_every_s=1.0)
    counting = msgspec.structs.replace(deployment.settings, metrics=metrics)
    validate(counting)
    tasks = {type(task): task for task in tasks_of(counting)}
    with deployment.coordinator.database.reading() as connection:
        assert not tasks[TrainingTask].wanted(connection)
        assert not tasks[AnalyticsTask].wanted(connection)


def test_what_a_running_round_will_cost_is_not_spent_twice(deploy: Any) -> None:
    """One sum is affordable: while training runs, no round of another task may start on the same money."""
    privacy = PRIVATE["privacy"] | {"epsilon_budget": 6.5}
    deployment = deploy(**(PRIVATE | {"privacy": privacy, "metrics": {"analytics_every_s": 1.0}}))
    tasks = {type(task): task for task in tasks_of(deployment.settings)}
    with deployment.coordinator.database.reading() as connection:
        assert tasks[TrainingTask].wanted(connection)
        assert tasks[AnalyticsTask].wanted(connection)
    plan = deployment.select(5)[0].plan
    other = AnalyticsTask if plan.kind is TaskKind.TRAINING else TrainingTask
    with deployment.coordinator.database.reading() as connection:
        assert not tasks[other].wanted(connection)
        assert not tasks[other].affords(connection, msgspec.structs.replace(plan, task="another"), 1)
        assert spending_of_all(connection, deployment.settings).rhos == ()


def test_the_cohorts_of_one_round_are_paid_for_together(deploy: Any) -> None:
    rounds = {"goal_count": 10, "minimum_count": 4, "smallest_aggregate": 3, "cohort_size": 5}
    privacy = PRIVATE["privacy"] | {"epsilon_budget": 9.0}  # two sums, not three
    deployment = deploy(**(PRIVATE | {"rounds": rounds, "privacy": privacy}))
    devices = deployment.select(10)
    plans = {device.plan.session: device.plan for device in devices}
    assert len(plans) == 2
    assert (
        sum(map(check_privacy, plans.values())) < largest_rho(9.0, 1e-6) < 1.5 * sum(map(check_privacy, plans.values()))
    )
    assert [row.reason for row in deployment.coordinator_rounds(2)] == [None, None]


def test_charges_add_up_and_the_round_that_would_overspend_does_not_start(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    affordable = math.floor(largest_rho(12.0, 1e-6) / check_privacy(run_round(deployment)[0].plan))
    assert affordable >= 2
    for _ in range(affordable - 1):
        run_round(deployment)
    assert len(ledger(deployment).rhos) == affordable
    deployment.tick(100.0)
    assert deployment.state() == "published"
    answer = deployment.device(99).check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason is ComeBackReason.PRIVACY_BUDGET
    assert ledger(deployment).epsilon(1e-6) <= 12.0


def test_a_budget_that_ran_out_while_devices_gathered_ends_the_round_by_name(deploy: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("coordinator.rounds.tasks.overspends", lambda *_: False)
    deployment = deploy(**(PRIVATE | {"privacy": PRIVATE["privacy"] | {"epsilon_budget": 1.0}}))
    deployment.tick(deployment.settings.rounds.pause_s)
    for device in deployment.devices(5):
        device.check_in()
    deployment.tick(1.0)
    row = deployment.coordinator_rounds(1)[0]
    assert row.reason is AbandonReason.PRIVACY_BUDGET
    assert row.plan is None


def test_a_round_that_opens_nothing_costs_nothing(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    devices = deployment.select(5)
    deployment.run_phase(Phase.ADVERTISE, devices)
    deployment.tick(100.0)
    deployment.tick(100.0)
    assert ledger(deployment).rhos == ()


def test_a_sum_is_charged_once_even_when_the_process_dies_right_after(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    run_round(deployment)
    deployment.restart()
    deployment.tick(0.0)
    assert len(ledger(deployment).rhos) == 1


def test_without_noise_the_label_says_so_whatever_was_spent(deployment: Any) -> None:
    devices = run_round(deployment)
    assert devices[0].plan.privacy == NO_DP_GUARANTEE
    assert ledger(deployment).without_noise == 1
    reports = Reports(deployment.coordinator.database, deployment.settings)
    assert reports.status(deployment.clock.now).privacy == NO_DP_GUARANTEE


def test_sums_released_without_noise_are_not_forgotten_when_noise_is_switched_on(deploy: Any) -> None:
    deployment = deploy()
    run_round(deployment)
    later = msgspec.structs.replace(deployment.settings, privacy=PrivacySettings(noise_multiplier=1.0))
    with deployment.coordinator.database.reading() as connection:
        assert privacy_sentence(connection, later).startswith(NO_DP_GUARANTEE)


def test_the_dashboard_says_epsilon_delta_and_assumption(deploy: Any) -> None:
    deployment = deploy(**PRIVATE)
    run_round(deployment)
    sentence = Reports(deployment.coordinator.database, deployment.settings).status(deployment.clock.now).privacy
    assert sentence.startswith("epsilon 5.")
    assert "of 12 spent so far, at delta 1e-06, assuming" in sentence


@pytest.mark.parametrize(("rhos", "delta"), [((0.5,), 1e-6), ((0.01,) * 30, 1e-5), ((2.0, 1.0, 0.125), 1e-8)])
def test_the_closed_form_agrees_with_dp_accounting(rhos: tuple[float, ...], delta: float) -> None:
    accounted = accounted_epsilon(rhos, delta)
    assert epsilon_of(math.fsum(rhos), delta) == pytest.approx(accounted, rel=0.01)
    assert epsilon_of(math.fsum(rhos), delta) <= accounted * 1.0001  # continuous orders: never above


def test_the_reporter_answers_at_once_and_knows_better_later() -> None:
    reporter = EpsilonReporter()
    assert reporter.epsilon((), 1e-6) == 0.0
    assert reporter.epsilon((0.5,), 1e-6) is None
    reporter._compute(((0.5,), 1e-6))
    assert reporter.epsilon((0.5,), 1e-6) == pytest.approx(epsilon_of(0.5, 1e-6), rel=0.01)


@pytest.mark.parametrize(
    "privacy",
    [
        PrivacySettings(noise_multiplier=-1.0),
        PrivacySettings(delta=0.0),
        PrivacySettings(delta=0.5),
        PrivacySettings(epsilon_budget=0.0),
        PrivacySettings(corrupt_fraction=1.0),
    ],
)
def test_settings_that_promise_nothing_sensible_are_refused(settings: Settings, privacy: PrivacySettings) -> None:
    with pytest.raises(SettingsError, match="privacy"):
        validate(msgspec.structs.replace(settings, privacy=privacy))


def test_neither_an_older_backup_nor_an_older_file_gives_privacy_back(deploy: Any, tmp_path: Path) -> None:
    deployment = deploy(**PRIVATE)
    run_round(deployment)
    backup.back_up(deployment.coordinator.database, tmp_path / "backup", 1.0)
    run_round(deployment)
    spent = ledger(deployment)
    assert len(spent.rhos) == 2
    restored = {}
    for name, marks in (("restored", high_water_path(deployment.settings)), ("copied by hand", None)):
        restored[name] = f"sqlite:///{tmp_path / name}.sqlite"
        older = Database(restored[name])
        backup.restore(older, tmp_path / "backup", 2.0, marks)
        with older.reading() as connection:
            known = spending(connection, deployment.settings.task).rho
        assert known == pytest.approx(spent.rho if marks else spent.rhos[0])
        older.close()
    again = deploy(database_url=restored["copied by hand"], **PRIVATE)
    assert ledger(again).rho == pytest.approx(spent.rho)  # the first start looks at the marks
    run_round(again)
    assert ledger(again).rho == pytest.approx(1.5 * spent.rho)


def test_damaged_marks_stop_the_start_and_are_not_taken_for_none(deploy: Any, tmp_path: Path) -> None:
    deployment = deploy(**PRIVATE)
    run_round(deployment)
    path = high_water_path(deployment.settings)
    assert path is not None
    path.write_bytes(b"{")
    with pytest.raises(ReleaseError, match="restore it"):
        deployment.restart()
