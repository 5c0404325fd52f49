"""Metrics agree with their definitions, spelled out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suggestion_model import metrics

SCORED = st.lists(st.tuples(st.integers(-3, 3).map(float), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40)


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_order_with_ties_half(rows: list[tuple[float, float]]) -> None:
    positive = [s for s, y in rows if y]
    negative = [s for s, y in rows if not y]
    value = metrics.auc(*zip(*rows, strict=True))
    if not positive or not negative:
        assert math.isnan(value)
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert value == pytest.approx(wins / (len(positive) * len(negative)))


@given(SCORED)
def test_log_loss_is_the_mean_surprise(rows: list[tuple[float, float]]) -> None:
    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    slow = -sum(y * math.log(sigmoid(z)) + (1 - y) * math.log(sigmoid(-z)) for z, y in rows) / len(rows)
    assert metrics.log_loss(*zip(*rows, strict=True)) == pytest.approx(slow)


def test_log_loss_stays_finite_where_the_naive_form_overflows() -> None:
    assert metrics.log_loss([1000.0, -1000.0], [0.0, 1.0]) == pytest.approx(1000.0)


def test_log_loss_weighs_examples() -> None:
    assert metrics.log_loss([2.0, -1.0], [1.0, 1.0], [0.0, 3.0]) == pytest.approx(metrics.log_loss([-1.0], [1.0]))


def test_calibration_bins_compare_prediction_with_outcome() -> None:
    logits = np.log([0.05 / 0.95, 0.05 / 0.95, 0.95 / 0.05, 0.95 / 0.05])
    bins = metrics.calibration_bins(logits, [0, 1, 1, 1])
    assert (bins[0].count, bins[0].predicted, bins[0].observed) == (2, pytest.approx(0.05), 0.5)
    assert (bins[9].count, bins[9].observed) == (2, 1.0)
    assert metrics.calibration_error(logits, [0, 1, 1, 1]) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.auc([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="NaN"):
        metrics.auc([float("nan")], [1.0])


def test_a_logistic_line_is_found_from_how_many_offers_were_clicked() -> None:
    scores = np.linspace(-4, 4, 9)
    offers = np.full(9, 50.0)
    clicks = offers / (1 + np.exp(-(1.7 * scores - 0.8)))
    assert metrics.logistic_line(scores, clicks, offers) == pytest.approx((1.7, -0.8), abs=1e-4)
    assert metrics.logistic_line(scores, clicks, offers, (0.0, 0.0)) == pytest.approx((1.7, -0.8), abs=1e-4)
    assert metrics.logistic_line(scores, 0 * clicks, 0 * offers, (1.0, -2.0)) == (1.0, -2.0)
