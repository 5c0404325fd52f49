"""What a private sum costs, in closed form, and that devices see through plans which promise more than they keep."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import CodecError
from federated_protocol.plan import (
    AggregationSetting,
    MetricSetting,
    MetricSlot,
    Plan,
    PrivacySetting,
    TaskKind,
    counter_names,
)
from federated_protocol.privacy import (
    charge,
    check_privacy,
    epsilon_of,
    estimated_names,
    largest_rho,
    noise_sixteenths_for,
    privacy_label,
    read_estimates,
    rounded_norm_bound,
    sum_rho,
    usage_vector,
)
from federated_protocol.privacy.calibration import noisy_devices, nothing_counted
from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec
from tests.plans import plan_with

PRIVACY = PrivacySetting(delta=1e-6, corrupt_fraction=0.05)


def private_plan(multiplier: float = 1.0, **changes: Any) -> Plan:
    aggregation = AggregationSetting(smallest_aggregate=60, largest_cohort=100)
    privacy = PRIVACY
    noise = noise_sixteenths_for(1.0 / 0.02, 700, multiplier, noisy_devices(aggregation, 0.05))
    codec = solve_codec(700, 1.0, 0.02, bytes(32), 100, 100, noise_sixteenths=noise)
    plan = plan_with(
        codec,
        aggregation=aggregation,
        metrics=nothing_counted(MetricSetting(slots=(), score_edges=(0.0,))),
        noise=privacy,
    )
    plan = msgspec.structs.replace(plan, privacy=privacy_label(privacy, charge(codec, aggregation, privacy)))
    return msgspec.structs.replace(plan, **changes)


def test_rho_is_half_the_square_of_the_inverse_noise_multiplier() -> None:
    for z in (0.5, 1.0, 4.0):
        assert check_privacy(private_plan(z)) == pytest.approx(1 / (2 * z**2), rel=0.03)


def test_only_the_noise_that_is_certainly_there_is_counted() -> None:
    aggregation = AggregationSetting(smallest_aggregate=60, largest_cohort=100)
    assert noisy_devices(aggregation, 0.05) == 55
    with pytest.raises(CodecError, match="raise the smallest aggregate"):
        noisy_devices(aggregation, 0.6)


def test_a_sum_of_little_discrete_noise_costs_more_than_a_gaussian_would() -> None:
    gaussian = 10.0**2 / (2 * 100 * 0.5**2)
    assert sum_rho(10.0, 1000, 0.5, 100) > 1.5 * gaussian
    assert sum_rho(10.0, 1000, 2.0, 100) == pytest.approx(10.0**2 / (2 * 100 * 2.0**2), rel=1e-6)
    with pytest.raises(CodecError):
        sum_rho(10.0, 1000, 0.4, 100)


@settings(deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(1e-12, 1e-2))
def test_epsilon_is_below_the_simple_bound_and_not_by_much(rho: float, delta: float) -> None:
    simple = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert epsilon_of(rho, delta) <= simple
    assert epsilon_of(rho, delta) >= rho - math.sqrt(rho) * 6 - 1e-9
    assert epsilon_of(rho, delta) <= epsilon_of(rho * 1.01, delta) + 1e-12


def test_epsilon_of_a_known_case() -> None:
    # arXiv 2004.00010, figure 2's setting: rho = 0.5 at delta = 1e-6 lies a little below the simple bound 5.757.
    assert 5.0 < epsilon_of(0.5, 1e-6) < 5.5


@settings(deadline=None)
@given(st.floats(0.01, 20), st.floats(1e-10, 1e-3))
def test_the_largest_rho_inverts_epsilon(epsilon: float, delta: float) -> None:
    rho = largest_rho(epsilon, delta)
    assert epsilon_of(rho, delta) <= epsilon
    assert epsilon_of(rho * 1.001 + 1e-12, delta) > epsilon


def test_sensitivity_is_the_norm_after_rounding() -> None:
    assert rounded_norm_bound(1e6, 100) == pytest.approx(1e6, rel=1e-4)
    assert rounded_norm_bound(0.1, 10_000) < 100.1 / 1.5  # far below clip + sqrt(m)
    assert rounded_norm_bound(3.0, 1) <= 4.0


def test_a_plan_without_noise_says_so_and_costs_nothing_that_could_be_counted() -> None:
    plan = private_plan()
    codec = msgspec.structs.replace(plan.codec, noise_sixteenths=0)
    plain = msgspec.structs.replace(plan, noise=None, privacy="no DP guarantee", codec=codec)
    assert check_privacy(plain) == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"privacy": "no DP guarantee"},
        {"privacy": "differential privacy of the device: rho 0.001 a round"},
        {"noise": None},
        {"noise": PrivacySetting(delta=0.1, corrupt_fraction=0.05)},
        {"noise": PrivacySetting(delta=1e-6, corrupt_fraction=0.2)},
        {"noise": PrivacySetting(delta=1e-6, corrupt_fraction=1.0)},
        {"metrics": MetricSetting(slots=(), score_edges=())},
        {"aggregation": AggregationSetting(smallest_aggregate=30, largest_cohort=100)},
        {"codec": solve_codec(700, 1.0, 0.02, bytes(32), 100, 100, noise_sixteenths=9)},
        {"codec": solve_codec(700, 1.0, 0.02, bytes(32), 100, 100)},
    ],
)
def test_a_plan_that_promises_more_than_it_keeps_is_refused(change: dict[str, Any]) -> None:
    check_privacy(private_plan())
    with pytest.raises(CodecError):
        check_privacy(private_plan(**change))


def test_a_private_plan_counts_nothing_exactly() -> None:
    assert counter_names(private_plan().metrics) == ()


SLOTS = (MetricSlot("holdback", 0), MetricSlot("treatment", 3))
USAGE = MetricSetting(slots=SLOTS, score_edges=(), exact=False)


def usage_plan(dimension: int = 6, **changes: Any) -> Plan:
    aggregation = AggregationSetting(smallest_aggregate=60, largest_cohort=100)
    noise = noise_sixteenths_for(64, dimension, 1.0, noisy_devices(aggregation, 0.05))
    codec = solve_codec(dimension, 32.0, 0.5, bytes(32), 1, 100, noise_sixteenths=noise)
    label = privacy_label(PRIVACY, charge(codec, aggregation, PRIVACY))
    plan = private_plan(kind=TaskKind.ANALYTICS, metrics=USAGE, codec=codec, privacy=label)
    return msgspec.structs.replace(plan, **changes)


def test_usage_under_noise_costs_what_any_sum_of_that_noise_costs() -> None:
    assert check_privacy(usage_plan()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    "plan",
    [
        usage_plan(kind=TaskKind.TRAINING),
        usage_plan(kind=TaskKind.EVALUATION),
        usage_plan(metrics=nothing_counted(USAGE)),
        usage_plan(metrics=msgspec.structs.replace(USAGE, exact=True)),
        usage_plan(dimension=7),
    ],
)
def test_usage_travels_in_analytics_alone_and_nothing_beside_it(plan: Plan) -> None:
    with pytest.raises(CodecError):
        check_privacy(plan)


def test_estimates_are_unbiased_and_their_noise_is_what_is_said() -> None:
    plan, devices, rounds = usage_plan(), 60, 60
    counted = {"treatment/3/lines": 90, "treatment/3/offers": 9, "treatment/3/clicks": 3, "treatment/2/lines": 7}
    vector = usage_vector(plan.metrics, counted)
    errors: dict[str, list[float]] = {name: [] for name in estimated_names(plan.metrics)}
    for _ in range(rounds):
        total = np.sum([encode(vector, 1.0, [], plan.codec) for _ in range(devices)], axis=0, dtype=np.uint32)
        layout(plan.codec, 0).reduce(total)
        found = read_estimates(decode_sum(total, plan.codec, devices).update_sum, plan.metrics, plan.codec, devices)
        for name, estimate in found.items():
            errors[name].append((estimate.value - devices * counted.get(name, 0)) / math.sqrt(estimate.variance))
    everything = np.array(list(errors.values()))
    assert np.abs(everything.mean(axis=1)).max() < 4.5 / math.sqrt(rounds)
    assert everything.var() == pytest.approx(1.0, abs=0.25)


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(0, 10**9), min_size=6, max_size=6))
def test_however_much_a_device_counted_it_moves_the_sum_by_no_more_than_the_clip(counts: list[int]) -> None:
    plan = usage_plan()
    quiet = msgspec.structs.replace(plan.codec, noise_sixteenths=8)  # half a step: nothing hides the norm
    vector = usage_vector(plan.metrics, dict(zip(estimated_names(plan.metrics), counts, strict=True)))
    decoded = decode_sum(encode(vector, 1.0, [], quiet), quiet, 1).update_sum
    assert np.linalg.norm(decoded) <= quiet.step * (rounded_norm_bound(64, 6) + 6 * math.sqrt(6) * 0.5)
