"""A tapped, dismissed or ignored query: the text stays, a card opens, the query stays away."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_logging import Outcome, UsageCount
from keyboard_app.suggestions import TypingSession
from suggestion_model.catalog import load_catalog
from tests.keyboard_app.suggestions.desk import NOTHING, QUERIES, THAI, Seat


def test_a_tap_leaves_the_text_and_opens_a_card(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    card = desk.session.tap_query()
    assert card is not None
    assert (card.query, card.category) == ("thai restaurants in oakland", "restaurants")
    assert card.search_url == "https://search.example/?q=thai+restaurants+in+oakland"
    assert desk.session.composed == THAI
    assert desk.session.strip.query is None
    desk.session.send()
    (row,) = desk.log.impressions()
    assert row.outcome is Outcome.TAPPED
    assert row.impression.shown
    assert row.impression.propensity == pytest.approx(0.95)


def test_after_a_tap_the_line_offers_nothing_else(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.keys(" or italian restaurants in oakland")
    assert desk.session.strip.query is None
    desk.session.send()
    (row,) = desk.log.impressions()
    assert row.impression.candidate == "thai restaurants in oakland"
    assert row.impression.context == THAI


def test_a_tapped_query_stays_away_for_the_conversation(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.session.send()
    desk.line(THAI)
    assert all(row.impression.candidate != "thai restaurants in oakland" for row in desk.log.impressions()[1:])
    desk.session.open_conversation("c2")
    desk.keys(THAI)
    assert desk.session.strip.query == "thai restaurants in oakland"


def test_a_dismissed_query_stays_away_and_is_logged_so(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.dismiss_query()
    desk.session.send()
    assert desk.log.impressions()[0].outcome is Outcome.DISMISSED
    desk.keys(THAI)
    assert desk.session.strip.query != "thai restaurants in oakland"


def test_after_two_ignored_offers_a_query_stays_away(seat: Seat) -> None:
    desk = seat()
    for _ in range(3):
        desk.session.open_conversation("c1")
        desk.line(THAI)
    offered = [row.impression.candidate for row in desk.log.impressions() if row.impression.shown]
    assert offered.count("thai restaurants in oakland") == 2


def test_tapping_where_nothing_is_does_nothing(seat: Seat) -> None:
    desk = seat()
    assert desk.session.tap_query() is None
    desk.session.dismiss_query()
    desk.line(NOTHING)
    assert desk.log.impressions() == []


def test_a_tap_counts_even_if_the_line_is_never_sent(seat: Seat) -> None:
    desk = seat()
    desk.keys(THAI)
    desk.session.tap_query()
    desk.session.open_conversation("c2")
    assert desk.session.composed == ""
    assert [row.outcome for row in desk.log.impressions()] == [Outcome.TAPPED]
    assert desk.log.usage_unreported() == [UsageCount("treatment", 1, 1, 1, 1)]


def test_the_search_address_must_be_one() -> None:
    for address in ("https://search.example/", "file:///etc/{query}", "javascript:{query}"):
        with pytest.raises(ValueError, match="search address"):
            TypingSession(None, search_address=address)


def test_a_query_is_quoted_in_the_address(seat: Seat, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(QUERIES + "r&b concerts? 50% off,music\n")
    desk = seat(source=load_catalog(path))
    desk.keys("any r&b concerts? 50% off")
    card = desk.session.tap_query()
    assert card is not None
    assert card.search_url == "https://search.example/?q=r%26b+concerts%3F+50%25+off"
