"""The laboratory's judge: every method is read at its own threshold, on expected clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.learning.judging import Judged, calibrated, gain, operating_row, over_seeds, rounds_to
from suggestion_model.metrics import log_loss


def judged(probability: list[float], chat: list[bool] | None = None) -> Judged:
    flags = np.array(chat if chat is not None else [False] * len(probability))
    return Judged(np.array(probability), flags, chat_lines=10, lines=20)


def test_a_method_is_read_where_it_keeps_nine_clicks_in_ten() -> None:
    found = judged([0.5, 0.4, 0.0, 0.1], [False, False, True, False]).judge(np.array([4.0, 3.0, 2.0, 1.0]))
    assert found["threshold"] == 3.0
    assert found["ctr_at_90"] == pytest.approx(0.45)
    assert found["impressions_retained"] == 0.5
    assert found["clicks_retained"] == pytest.approx(0.9)
    assert found["offers_on_chat"] == 0.0


def test_chat_lines_without_any_candidate_count_as_quiet() -> None:
    found = judged([0.1, 0.1], [True, True]).judge(np.array([1.0, 2.0]))
    assert found["offers_on_chat"] == pytest.approx(0.2)


def test_a_method_without_threshold_is_charged_for_every_offer() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.5])
    found = judged([0.8, 0.0, 0.0, 0.0]).judge_always(scores, scores)
    assert found["impressions_retained"] == found["clicks_retained"] == 1.0
    assert found["ctr_at_90"] == pytest.approx(0.2)


@given(st.lists(st.tuples(st.integers(-4, 4), st.floats(0.01, 1)), min_size=1, max_size=40), st.floats(0.1, 1.0))
def test_no_higher_threshold_would_keep_enough(rows: list[tuple[int, float]], share: float) -> None:
    scores = np.array([float(score) for score, _ in rows])
    clicks = np.array([click for _, click in rows])
    at = operating_row(scores, clicks, share)
    assert clicks[scores >= at].sum() >= share * clicks.sum() - 1e-6
    assert clicks[scores > at].sum() < share * clicks.sum()


def test_the_trade_off_offers_more_as_it_keeps_more() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(300) ** 6
    curve = judged(probability.tolist()).curve(probability + rng.normal(0, 0.1, 300))
    offers = [point["impressions_retained"] for point in curve]
    assert offers == sorted(offers)
    assert curve[0]["ctr_at_90"] > curve[-1]["ctr_at_90"]


def test_intervals_over_seeds_are_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert found["mean"] == 2.0
    assert found["high"] == pytest.approx(2.0 + 4.303 / 3**0.5)
    assert over_seeds([0.5]) == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert over_seeds([1.0, None])["mean"] is None


def test_gain_is_relative_to_the_centralised_one() -> None:
    assert gain(0.9, 0.8, 1.0) == pytest.approx(0.5)
    assert gain(0.9, 0.8, 0.8) is None


def test_the_target_counts_from_the_first_round_that_reaches_it() -> None:
    curve = [(1, {"auc": 0.7}), (2, {"auc": 0.9}), (3, {"auc": 0.85})]
    assert rounds_to(curve, "auc", 0.85) == 2
    assert rounds_to(curve, "auc", 0.95) is None


def test_scores_that_are_no_probabilities_are_calibrated_on_the_other_half() -> None:
    rng = np.random.default_rng(1)
    scores = rng.gamma(2.0, 3.0, 2000)
    clicks = 1 / (1 + np.exp(-(0.4 * scores - 5)))
    logits = calibrated(scores, clicks, rng.integers(2, size=2000))
    assert log_loss(logits, clicks) == pytest.approx(log_loss(np.log(clicks / (1 - clicks)), clicks), abs=0.005)
