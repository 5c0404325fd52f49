"""Optimisers, the evaluation gate, the threshold and click-through: arithmetic that can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation import (
    Adam,
    Averaging,
    CohortSum,
    GateRejectedError,
    Momentum,
    OptimizerState,
    Yogi,
    make_next_model,
    make_optimizer,
)
from coordinator.experiments import ScoreHistograms, calibrate_threshold, usage_by_arm
from coordinator.experiments.click_through import metric_slots
from coordinator.experiments.statistics import ArmSums
from coordinator.settings import OptimizerSettings
from federated_protocol.messages import ModelArtifact
from federated_protocol.plan import MetricSetting, counter_names
from federated_protocol.update_codec import DecodedSum, solve_codec

D = 6
CODEC = solve_codec(D, clip=1.0, step=1e-4, rotation_seed=b"", weight_levels=1024, largest_cohort=10)


def base(weights=None):
    data = np.zeros(D, "<f4") if weights is None else weights.astype("<f4")
    return ModelArtifact(version=3, parent=2, bundle_digest="b", weights=data.tobytes(), threshold=0.5)


def next_model(update_sum, weight_sum, optimizer=None, threshold=0.5, devices=5, state=None, prior_weight=0.0):
    decoded = DecodedSum(np.asarray(update_sum, float), weight_sum, np.zeros(2, np.uint64))
    optimizer = optimizer or Averaging()
    sums = [CohortSum(decoded, CODEC, devices)]
    return make_next_model(base(), np.zeros(D), state, sums, optimizer, threshold, prior_weight)


# -- optimisers --------------------------------------------------------------------------------------------------


def test_averaging_is_the_weighted_mean_of_federated_averaging():
    made = next_model(np.full(D, 0.6), 3.0)
    assert np.allclose(np.frombuffer(made.artifact.weights, "<f4"), 0.2)
    assert (made.artifact.version, made.artifact.parent) == (4, 3)
    assert made.update_norm == pytest.approx(0.2 * math.sqrt(D))


@pytest.mark.parametrize(("prior_weight", "expected"), [(0.0, 0.2), (3.0, 0.1), (27.0, 0.02)])
def test_a_prior_weight_shrinks_the_mean_of_few_examples(prior_weight, expected):
    made = next_model(np.full(D, 0.6), 3.0, prior_weight=prior_weight)
    assert np.allclose(np.frombuffer(made.artifact.weights, "<f4"), expected)


def test_the_server_learning_rate_scales_the_step():
    moved, _ = Averaging(0.5).step(np.ones(D), np.full(D, 0.2), OptimizerState())
    assert np.allclose(moved, 1.1)


def test_momentum_adds_up_what_it_remembers():
    optimizer, state, weights = Momentum(learning_rate=1.0, beta=0.5), OptimizerState(), np.zeros(D)
    for expected in (1.0, 2.5, 4.25):
        weights, state = optimizer.step(weights, np.ones(D), state)
        assert np.allclose(weights, expected)


def test_adams_first_step_has_the_size_of_its_learning_rate_whatever_the_update():
    for scale in (1e-3, 1.0, 50.0):
        moved, _ = Adam(learning_rate=0.01, epsilon=1e-12).step(np.zeros(D), np.full(D, scale), OptimizerState())
        assert np.allclose(moved, 0.01)


def test_yogis_moment_falls_by_what_an_update_weighs_where_adams_falls_by_a_share():
    state = OptimizerState()
    for size in (1.0, 1e-3):
        _, state = Yogi(beta2=0.9, epsilon=1e-3).step(np.zeros(D), np.full(D, size), state)
    assert state.vector("square", D) == pytest.approx(np.full(D, 1e-6 + 0.1 - 0.1 * 1e-6))


@pytest.mark.parametrize("name", ["average", "momentum", "adam", "yogi"])
def test_a_state_that_was_stored_continues_exactly(name):
    optimizer = make_optimizer(OptimizerSettings(name=name))
    rng = np.random.default_rng(1)
    weights, kept, stored = np.zeros(D), OptimizerState(), OptimizerState()
    for _ in range(3):
        update = rng.normal(size=D)
        moved, kept = optimizer.step(weights, update, kept)
        again, stored = optimizer.step(weights, update, OptimizerState.decode(stored.encode()))
        assert np.array_equal(moved, again)
        weights = moved


@pytest.mark.parametrize("optimizer", [Averaging(0.5), Momentum(0.05, 0.9), Adam(0.05), Yogi(0.05)])
def test_every_optimiser_finds_the_minimum_of_a_bowl(optimizer):
    target, weights, state = np.linspace(-1, 1, D), np.zeros(D), OptimizerState()
    for _ in range(400):
        weights, state = optimizer.step(weights, 0.5 * (target - weights), state)
    assert np.allclose(weights, target, atol=0.02)


# -- the gate ----------------------------------------------------------------------------------------------------


def test_no_examples_no_model():
    with pytest.raises(GateRejectedError):
        next_model(np.zeros(D), 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_values_that_are_not_finite_are_rejected(value):
    with pytest.raises(GateRejectedError):
        next_model(np.full(D, value), 1.0)
    with pytest.raises(GateRejectedError):
        next_model(np.zeros(D), 1.0, threshold=math.nan)


def test_a_mean_longer_than_the_clip_is_rejected_and_one_at_the_clip_passes():
    direction = np.ones(D) / math.sqrt(D)
    assert next_model(2.0 * direction, 2.0).update_norm == pytest.approx(1.0)
    with pytest.raises(GateRejectedError):
        next_model(2.0 * 1.01 * direction, 2.0)


# -- the threshold -----------------------------------------------------------------------------------------------

EDGES = tuple(float(edge) for edge in range(-4, 5))


def histograms(clicks):
    return ScoreHistograms(EDGES, np.asarray(clicks, float), np.asarray(clicks, float) * 10)


def test_the_threshold_keeps_nine_clicks_in_ten():
    # ten bins of 100 clicks: losing 100 of 1000 uses up the open lowest bin, so the cut is at its upper edge
    assert calibrate_threshold(histograms([100] * 10), 9.0) == pytest.approx(-4.0)
    # 900 clicks, 90 may be lost: 50 of the open bin and 40 of the next bin's 50, so the cut is at four fifths of it
    assert calibrate_threshold(histograms([50] + [50] + [100] * 8), 9.0) == pytest.approx(-3.2)


def test_inside_a_bin_clicks_are_spread_evenly():
    clicks = [0, 0, 0, 0, 0, 200, 0, 0, 0, 0]  # all between 0 and 1
    assert calibrate_threshold(histograms(clicks), 9.0) == pytest.approx(0.1)


def test_clicks_in_the_open_bins_fall_back_to_the_outermost_edges():
    assert calibrate_threshold(histograms([500] + [0] * 9), 9.0) == -4.0
    assert calibrate_threshold(histograms([0] * 9 + [500]), 9.0) == 4.0


def test_with_few_clicks_the_threshold_stays():
    assert calibrate_threshold(histograms([4] * 10), 1.25) == 1.25


@given(st.lists(st.integers(0, 1000), min_size=10, max_size=10), st.floats(0.5, 0.99))
def test_at_least_the_wanted_share_of_clicks_stays_above(clicks, keep):
    chosen = calibrate_threshold(histograms(clicks), 0.0, keep_clicks=keep, smallest_click_mass=1.0)
    if sum(clicks) < 1 or clicks[0] > (1 - keep) * sum(clicks):
        return  # the lowest bin is open: nothing is known inside it
    kept = 0.0
    bounds = (-math.inf, *EDGES, math.inf)
    for count, low, high in zip(clicks, bounds[:-1], bounds[1:], strict=True):
        if low >= chosen:
            kept += count
        elif high > chosen and math.isfinite(low) and math.isfinite(high):
            kept += count * (high - chosen) / (high - low)
    assert kept >= keep * sum(clicks) - 1e-6


def test_histograms_of_older_rounds_fade_and_are_in_impressions():
    newest, older = {"clicks_by_score/0": 80}, {"clicks_by_score/0": 80, "offers_by_score/1": 16}
    added = ScoreHistograms.accumulate([newest, older], EDGES, scale=8, decay=0.5)
    assert added.clicks[0] == pytest.approx(15.0)
    assert added.offers[1] == pytest.approx(1.0)


def offered(clicks_at, offers=200.0):
    """As many offers in each bin, clicked as ``clicks_at`` says of the logit."""
    blank = ScoreHistograms(EDGES, np.zeros(10), np.full(10, offers))
    return replace(blank, clicks=blank.offers * clicks_at(blank.middles))


def test_expected_clicks_are_those_that_fell_where_the_curve_is_logistic():
    for slope, intercept in ((1.0, 0.0), (1.6, -1.0), (0.7, 0.5)):
        fell = offered(lambda z, a=slope, b=intercept: 1 / (1 + np.exp(-a * z - b)))
        assert fell.expected(0.0).clicks == pytest.approx(fell.clicks, rel=1e-6)


def test_two_explored_taps_at_the_bottom_do_not_open_the_gates():
    rare = ScoreHistograms(EDGES, np.zeros(10), 1000 / 1.5 ** np.arange(10))
    fell = replace(rare, clicks=rare.offers / (1 + np.exp(-2 * rare.middles)))
    with_two_more = replace(fell, clicks=fell.clicks + 40 * np.eye(10)[1])  # of propensity 1/20
    assert calibrate_threshold(with_two_more, 0.0) < calibrate_threshold(fell, 0.0) - 2.0
    assert calibrate_threshold(with_two_more.expected(), 0.0) > calibrate_threshold(fell.expected(), 0.0) - 1.0


def test_with_few_clicks_the_curve_is_the_models_own():
    fell = offered(lambda z: 0.0 * z)
    one = replace(fell, clicks=np.eye(10)[2])
    foreseen = 1 / (1 + np.exp(-one.middles))
    assert one.expected(1e6).clicks == pytest.approx(foreseen / foreseen.sum(), rel=0.02)
    assert fell.expected().clicks.sum() == 0.0


def test_sums_that_count_nothing_by_score_keep_the_threshold() -> None:
    """As with noise, whose budget is not spent on histograms."""
    nothing = ScoreHistograms.accumulate([{"lines/treatment/1": 40}], (), 20, 0.9)
    assert calibrate_threshold(nothing.expected(), -1.5) == -1.5


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=10, max_size=10))
def test_expected_clicks_are_as_many_as_fell_and_none_where_nothing_was_offered(counts):
    offers = np.array([clicks + others for clicks, others in counts], float)
    fell = ScoreHistograms(EDGES, np.array([clicks for clicks, _ in counts], float), offers)
    found = fell.expected().clicks
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(fell.clicks.sum())
    assert (found[offers == 0] == 0).all()


def test_a_round_with_enough_clicks_moves_the_threshold(deployment):
    devices = deployment.select(10)
    names = counter_names(devices[0].plan.metrics)
    counts = dict.fromkeys(names, 0) | {"clicks_by_score/20": 2 * 100, "examples": 7}
    for device in devices:
        device.counters = np.array([counts[name] for name in names], dtype=np.uint64)
    deployment.run_round(devices)
    model = deployment.coordinator.models.current()
    edges = devices[0].plan.metrics.score_edges
    assert edges[19] < model.threshold < edges[20]
    assert model.examples == 70


# -- click-through -----------------------------------------------------------------------------------------------


def test_usage_reads_the_counters_of_a_plan():
    metrics = MetricSetting(slots=metric_slots(2, newest=6), score_edges=(0.0,))
    sums = {name: number for number, name in enumerate(counter_names(metrics))}
    usages = usage_by_arm(sums)
    assert [(u.arm, u.version) for u in usages] == [
        ("holdback", 0),
        ("treatment", 0),
        ("treatment", 1),
        ("treatment", 2),
    ]
    first = usages[0]
    assert (first.lines, first.offers, first.clicks) == (4, 5, 6)
    assert first.moments == ArmSums(7, 8, 9, 10, 11, 12)
    assert first.click_through_rate == pytest.approx(6 / 5)
    assert usage_by_arm({"holdback/0/lines": 0})[0].click_through_rate is None


def test_only_the_newest_versions_are_counted_beside_the_holdback():
    slots = metric_slots(9, newest=6)
    assert [(slot.arm, slot.version) for slot in slots] == [("holdback", 0)] + [("treatment", v) for v in range(4, 10)]


def test_an_artifact_round_trips_through_its_canonical_bytes():
    artifact = next_model(np.full(D, 0.1), 1.0).artifact
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(artifact), type=ModelArtifact) == artifact
