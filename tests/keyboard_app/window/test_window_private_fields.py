"""Claims about password fields and incognito: seen at a glance, never offered a query, never logged."""

from __future__ import annotations

from typing import Any

import pytest

from keyboard_app.suggestions import FieldKind

pytestmark = pytest.mark.xdist_group("window")

LINE = "any good thai restaurants in oakland"


def test_a_password_shows_no_query_no_words_and_logs_nothing(rig: Any) -> None:
    rig.tap_box(rig.screen.composer.switch_box)
    assert rig.session.field_kind is FieldKind.PASSWORD
    rig.type(LINE)
    rig.clock.now += 2
    assert rig.screen.pill.query is None
    assert rig.screen.words.words == ("", "", "")
    assert rig.screen.words.note
    rig.key("send")
    assert rig.logged() == []
    assert rig.log.usage_unreported() == []


def test_a_password_is_drawn_as_dots_and_stays_dots_in_the_chat(rig: Any) -> None:
    rig.tap_box(rig.screen.composer.switch_box)
    rig.type("abcde")
    rig.screen.composer.stop_blinking()
    five = rig.pixels()
    for _ in range(5):
        rig.key("backspace")
    rig.type("vwxyz")
    assert (rig.pixels() == five).all(), "two passwords of one length look the same"
    rig.key("send")
    assert rig.screen.conversation.lines == [("•••••", True)]


def test_a_switch_back_brings_words_back(rig: Any) -> None:
    rig.tap_box(rig.screen.composer.switch_box)
    rig.tap_box(rig.screen.composer.switch_box)
    assert rig.session.field_kind is FieldKind.TEXT
    assert any(rig.screen.words.words)


def test_incognito_shows_no_query_and_logs_nothing(rig: Any) -> None:
    rig.tap_box(rig.screen.header.switch_box)
    assert rig.session.field_kind is FieldKind.NO_LEARNING
    rig.type(LINE)
    rig.clock.now += 2
    assert rig.screen.pill.query is None
    assert any(rig.screen.words.words)
    rig.key("send")
    assert rig.logged() == []


def test_incognito_is_seen_from_across_the_room(rig: Any) -> None:
    plain = rig.pixels()[:80].astype(int)
    rig.tap_box(rig.screen.header.switch_box)
    private = rig.pixels()[:80].astype(int)
    changed = (abs(plain - private).max(axis=2) > 60).mean()
    assert changed > 0.8


def test_a_password_field_inside_incognito_returns_to_incognito(rig: Any) -> None:
    rig.tap_box(rig.screen.header.switch_box)
    rig.tap_box(rig.screen.composer.switch_box)
    assert rig.session.field_kind is FieldKind.PASSWORD
    rig.tap_box(rig.screen.composer.switch_box)
    assert rig.session.field_kind is FieldKind.NO_LEARNING
