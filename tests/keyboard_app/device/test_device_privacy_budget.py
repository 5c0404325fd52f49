"""A device adds up what its rounds cost, keeps it on disk, and stops at its own cap."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from federated_protocol.plan import NO_DP_GUARANTEE, AggregationSetting, MetricSetting, Plan, PrivacySetting
from federated_protocol.privacy import charge, check_privacy, epsilon_of, noise_sixteenths_for, privacy_label
from federated_protocol.update_codec import solve_codec
from keyboard_app.device.policy import DevicePolicy, PlanRefusal, PlanRefusedError
from keyboard_app.device.privacy_budget import PrivacyBudget
from tests.plans import plan_with

DELTA = 1e-6
DIMENSION = 205


def plan(session: str, *, noise: bool = True) -> Plan:
    aggregation = AggregationSetting(smallest_aggregate=60, largest_cohort=100)
    sixteenths = noise_sixteenths_for(50, DIMENSION, 2.0, 55) if noise else 0
    codec = solve_codec(DIMENSION, 1.0, 0.02, bytes(32), 100, 100, noise_sixteenths=sixteenths)
    privacy = PrivacySetting(delta=DELTA, corrupt_fraction=0.05) if noise else None
    return plan_with(
        codec,
        round=1,
        session=session,
        model_version=0,
        model_digest="0" * 64,
        aggregation=aggregation,
        metrics=MetricSetting(slots=(), score_edges=(), exact=not noise),
        privacy=privacy_label(privacy, charge(codec, aggregation, privacy) if privacy else 0.0),
        noise=privacy,
    )


def test_every_input_costs_whatever_the_coordinator_calls_its_session_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "privacy.json"
    budget = PrivacyBudget(path, 10.0, DELTA)
    cost = check_privacy(plan("a"))
    for session in ("a", "b", "b"):
        budget.charge(plan(session))
    for found in (budget, PrivacyBudget(path, 10.0, DELTA)):
        assert found.rho == pytest.approx(3 * cost)
        assert found.epsilon == pytest.approx(epsilon_of(3 * cost, DELTA))


def test_a_round_beyond_the_cap_is_declined(tmp_path: Path) -> None:
    budget = PrivacyBudget(tmp_path / "privacy.json", 5.0, DELTA)
    joined = 0
    while budget.affords(plan(str(joined))):
        budget.charge(plan(str(joined)))
        joined += 1
    assert 1 < joined < 20
    assert budget.epsilon <= 5.0 < epsilon_of(budget.rho + check_privacy(plan("x")), DELTA)
    assert budget.affords(plan("free", noise=False))


def test_a_damaged_ledger_counts_as_spent(tmp_path: Path) -> None:
    path = tmp_path / "privacy.json"
    PrivacyBudget(path, 10.0, DELTA).charge(plan("a"))
    for damage in (b"{", b"\xff\xfe", b'{"rho": -1.0}', b'{"rho": "much"}'):
        path.write_bytes(damage)
        budget = PrivacyBudget(path, 10.0, DELTA)
        assert not budget.affords(plan("b"))
        assert "damaged" in budget.sentence
        assert path.read_bytes() == damage


def test_the_owner_reads_epsilon_delta_and_assumption_or_that_nothing_is_promised(tmp_path: Path) -> None:
    budget = PrivacyBudget(tmp_path / "privacy.json", 10.0, DELTA)
    assert "nothing spent" in budget.sentence
    budget.charge(plan("a"))
    assert budget.sentence.startswith("epsilon 2.4")
    assert "of 10 spent so far, at delta 1e-06, assuming" in budget.sentence
    budget.charge(plan("b", noise=False))
    assert f"{NO_DP_GUARANTEE} for 1 round without noise" in budget.sentence


def test_the_policy_refuses_a_plan_that_promises_more_than_it_keeps() -> None:
    policy = DevicePolicy(demands_noise=True)
    policy.check(plan("s"), DIMENSION)
    for broken in (
        plan("s", noise=False),
        msgspec.structs.replace(plan("s"), privacy=NO_DP_GUARANTEE),
        msgspec.structs.replace(plan("s"), metrics=MetricSetting(slots=(), score_edges=())),
        msgspec.structs.replace(plan("s", noise=False), privacy="differential privacy of the device: rho 1 a round"),
    ):
        with pytest.raises(PlanRefusedError) as refused:
            policy.check(broken, DIMENSION)
        assert refused.value.reason is PlanRefusal.PRIVACY
    DevicePolicy().check(plan("s", noise=False), DIMENSION)


def test_the_policy_refuses_noise_that_is_charged_as_if_nobody_lied_about_it() -> None:
    trusting = PrivacySetting(delta=DELTA, corrupt_fraction=0.0)
    honest = plan("s")
    label = privacy_label(trusting, charge(honest.codec, honest.aggregation, trusting))
    lie = msgspec.structs.replace(honest, noise=trusting, privacy=label)
    assert 0 < check_privacy(lie) < check_privacy(honest)
    with pytest.raises(PlanRefusedError) as refused:
        DevicePolicy().check(lie, DIMENSION)
    assert refused.value.reason is PlanRefusal.PRIVACY
