"""What the conversation came to before, as numbers for the ranker."""

from __future__ import annotations

import math

import pytest

from suggestion_model.earlier_matches import KEPT_MATCHES, MATCH_HISTORY, match_history
from suggestion_model.types import Candidate, Context, Match

THAI = Candidate("thai restaurants in oakland", "restaurants", 0.8)
SAME = Match(THAI.query, "restaurants", tapped=False)
OTHER_FOOD = Match("pizza in oakland", "restaurants", tapped=False)
WEATHER = Match("weather in oakland", "weather", tapped=False)


def history(*matches: Match) -> dict[str, float]:
    return dict(zip(MATCH_HISTORY, match_history(THAI, matches), strict=True))


def test_a_conversation_begins_with_nothing_known() -> None:
    assert set(history().values()) == {0.0}


def test_times_and_recency_are_those_of_the_query_and_of_its_category() -> None:
    found = history(SAME, OTHER_FOOD, WEATHER)
    assert found["query_times"] == pytest.approx(math.log(2))
    assert found["query_recency"] == pytest.approx(1 / 3)
    assert found["category_times"] == pytest.approx(math.log(3))
    assert found["category_recency"] == pytest.approx(1 / 2)
    assert found["matches_before"] == pytest.approx(math.log(4))


def test_taps_count_for_the_category_and_for_the_conversation() -> None:
    tapped_weather = Match(WEATHER.query, WEATHER.category, tapped=True)
    tapped_food = Match(OTHER_FOOD.query, OTHER_FOOD.category, tapped=True)
    assert (history(SAME)["category_tapped"], history(SAME)["taps_before"]) == (0.0, 0.0)
    assert (history(tapped_weather)["category_tapped"], history(tapped_food)["category_tapped"]) == (0.0, 1.0)
    assert history(tapped_weather, tapped_food)["taps_before"] == pytest.approx(math.log(3))


def test_what_lies_far_back_does_not_count() -> None:
    assert history(SAME, *[WEATHER] * KEPT_MATCHES) == history(*[WEATHER] * KEPT_MATCHES)
    assert history(SAME, *[WEATHER] * (KEPT_MATCHES - 1))["query_recency"] == pytest.approx(1 / KEPT_MATCHES)


def test_candidates_may_be_remembered_by_context_whatever_was_matched_before() -> None:
    assert Context("thai?", ("hi",), (SAME,)) == Context("thai?", ("hi",))
