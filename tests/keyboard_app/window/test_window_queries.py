"""Claims about the query pill and the search card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data_logging import Outcome

pytestmark = pytest.mark.xdist_group("window")

LINE = "any good thai restaurants in oakland"
QUERY = "thai restaurants in oakland"


def test_a_search_worthy_line_shows_one_query_with_a_look_of_its_own(rig: Any) -> None:
    rig.type("any good ")
    plain = rig.pixels()
    rig.type("thai restaurants in oakland")
    assert rig.screen.pill.query == QUERY
    image = rig.pixels()
    x, y, _width, height = (round(value) for value in rig.screen.pill.pill_box)
    row = image[image.shape[0] - y - height // 2, x + 4 : x + 12, :3].astype(int)
    assert (row.max(axis=1) - row.min(axis=1) > 40).all(), "the pill is coloured, the chat behind it is grey"
    assert np.abs(image.astype(int) - plain).max() > 40


def test_an_ordinary_line_shows_no_query(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(threshold=50.0)
    rig.type(LINE)
    assert rig.screen.pill.query is None


def test_nothing_under_the_finger_moves_when_a_query_appears(rig: Any) -> None:
    rig.type("any good ")
    before = (rig.screen.words.box(1), rig.screen.keyboard.centre_of("q"), rig.screen.composer.y)
    rig.type("thai restaurants")
    assert rig.screen.pill.query is not None
    assert (rig.screen.words.box(1), rig.screen.keyboard.centre_of("q"), rig.screen.composer.y) == before


def test_a_tap_opens_the_card_and_leaves_the_text(rig: Any) -> None:
    rig.type(LINE)
    before = rig.pixels()
    rig.tap_box(rig.screen.pill.pill_box)
    rig.frames(3)
    assert rig.screen.search.is_open
    assert rig.session.composed == LINE
    assert rig.opened == []
    assert (rig.pixels() != before).any()


def test_only_the_second_tap_goes_to_the_browser(rig: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.pill_box)
    rig.frames_until(lambda: rig.screen.search.view.y == 0)
    rig.tap_box(rig.screen.search.view.button_box("open"))
    assert rig.opened == ["https://search.example/?q=thai+restaurants+in+oakland"]
    assert not rig.screen.search.is_open
    assert rig.session.composed == LINE


def test_close_goes_nowhere(rig: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.pill_box)
    rig.frames_until(lambda: rig.screen.search.view.y == 0)
    rig.tap_box(rig.screen.search.view.button_box("close"))
    assert rig.opened == []
    assert not rig.screen.search.is_open
    assert rig.session.composed == LINE


def test_keys_under_the_card_are_out_of_reach(rig: Any) -> None:
    rig.type(LINE)
    x, y = rig.screen.keyboard.centre_of("g")
    rig.tap_box(rig.screen.pill.pill_box)
    rig.frames_until(lambda: rig.screen.search.view.y == 0)
    rig.tap(x, y)
    assert rig.session.composed == LINE


def test_typing_on_closes_the_card(rig: Any, window: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.pill_box)
    window.dispatch("on_textinput", "?")
    assert not rig.screen.search.is_open
    assert rig.session.composed == LINE + "?"


def test_escape_closes_the_card(rig: Any, window: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.pill_box)
    window.dispatch("on_key_down", 27, 41, None, [])
    assert not rig.screen.search.is_open


def test_a_tap_and_a_sent_line_log_one_tapped_impression(rig: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.pill_box)
    rig.screen.search.close()
    rig.key("send")
    (row,) = rig.logged()
    assert row.impression.candidate == QUERY
    assert row.impression.shown
    assert row.outcome is Outcome.TAPPED
    assert rig.session.composed == ""


def test_a_query_seen_and_left_alone_is_logged_as_ignored(rig: Any) -> None:
    rig.type(LINE)
    rig.clock.now += 2
    rig.key("send")
    (row,) = rig.logged()
    assert row.outcome is Outcome.IGNORED


def test_the_cross_sends_the_query_away(rig: Any) -> None:
    rig.type(LINE)
    rig.tap_box(rig.screen.pill.cross_box)
    assert rig.screen.pill.query is None
    assert not rig.screen.search.is_open
    rig.key("send")
    (row,) = rig.logged()
    assert row.outcome is Outcome.DISMISSED


def test_a_query_that_changed_under_the_finger_is_not_opened(rig: Any) -> None:
    rig.type(LINE)
    x, y, width, height = rig.screen.pill.pill_box
    finger = rig.touch(x + width / 2, y + height / 2)
    rig.screen.pill.show("weather in berlin")
    finger.touch_up()
    assert not rig.screen.search.is_open


def test_a_long_query_is_shortened_not_cut(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(size=(360, 640))
    rig.screen.pill.show("a query with very many words that can never fit into the width of a small phone")
    rig.frames()
    x, _y, width, _height = rig.screen.pill.cross_box
    assert x + width <= 360
