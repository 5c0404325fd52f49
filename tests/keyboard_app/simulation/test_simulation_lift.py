"""CTR at the operating point and its lift, on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.simulation.lift import ScoredLines, field_point, lift, operating_point


def scored(scores: list[float], taps: list[float], people: list[int] | None = None) -> ScoredLines:
    return ScoredLines(
        np.array(people or range(len(scores)), dtype=np.int64), np.array(scores, float), np.array(taps, float), 20
    )


def test_the_threshold_keeps_the_stated_share_of_clicks_with_the_fewest_offers() -> None:
    point = operating_point(scored([4, 3, 2, 1, 0], [0.5, 0.4, 0.0, 0.05, 0.05]))
    assert (point.threshold, point.offers) == (3, 2)
    assert point.ctr == pytest.approx(0.45)
    assert point.offers_per_line == pytest.approx(0.1)
    assert point.clicks_of_all == pytest.approx(1.0)


def test_lines_of_equal_score_are_offered_together() -> None:
    point = operating_point(scored([1, 1, 1, 0], [1.0, 0.0, 0.0, 0.0]))
    assert point.offers == 3


def test_at_its_published_threshold_a_model_offers_what_exceeds_it() -> None:
    point = field_point(scored([4, 3, 2, 1, 0], [0.5, 0.4, 0.0, 0.05, 0.05]), 1.0)
    assert (point.offers, point.clicks, point.clicks_of_all) == (3, pytest.approx(0.9), pytest.approx(1.0))
    assert point.ctr == pytest.approx(0.3)
    assert field_point(scored([], []), 0.0).ctr == 0.0


def test_a_model_without_candidates_offers_nothing() -> None:
    assert operating_point(scored([], [])).offers == 0


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.floats(0.01, 1)), min_size=1, max_size=40),
    st.floats(0.1, 1.0),
)
def test_no_higher_threshold_keeps_enough(rows: list[tuple[int, float]], keep: float) -> None:
    lines = scored([float(score) for score, _ in rows], [tap for _, tap in rows])
    point = operating_point(lines, keep)
    assert point.clicks >= keep * point.clicks_of_all - 1e-9
    stricter = lines.taps[lines.score > point.threshold].sum()
    assert stricter < keep * point.clicks_of_all


def many(separation: float, seed: int, people: int = 60) -> ScoredLines:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 40)
    wanted = rng.random(len(person)) < 0.1
    return ScoredLines(
        person, rng.normal(size=len(person)) + separation * wanted, np.where(wanted, 0.5, 0.002), len(person)
    )


def test_a_better_ranking_has_a_lift_clearly_above_zero() -> None:
    result = lift([(many(1.0, 1), many(2.5, 1))], 60, np.random.default_rng(0), resamples=300)
    assert 0 < result.low < result.lift < result.high


def test_the_same_model_has_no_lift_at_all() -> None:
    result = lift([(many(1.0, 1), many(1.0, 1))], 60, np.random.default_rng(0), resamples=100)
    assert (result.lift, result.low, result.high) == (0, 0, 0)


def test_several_seeds_are_averaged_and_the_interval_covers_their_spread() -> None:
    pairs = [(many(1.0, seed), many(2.0, seed)) for seed in range(3)]
    result = lift(pairs, 60, np.random.default_rng(0), resamples=300)
    alone = [lift([pair], 60, np.random.default_rng(0), resamples=50).lift for pair in pairs]
    assert result.lift == pytest.approx(np.mean(alone))
    assert result.low < min(alone) + 0.3
    assert result.high > result.lift
