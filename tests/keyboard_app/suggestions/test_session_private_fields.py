"""What must never be logged is not: password fields, incognito, long numbers."""

from __future__ import annotations

import pytest

from data_logging import UsageCount
from keyboard_app.suggestions import FieldKind, Strip
from tests.keyboard_app.suggestions.desk import THAI, Seat


@pytest.mark.parametrize("kind", [FieldKind.PASSWORD, FieldKind.NO_LEARNING])
def test_private_fields_offer_no_query_and_reach_no_file(seat: Seat, kind: FieldKind) -> None:
    desk = seat(kind=kind)
    desk.keys(THAI + " zebrafish")
    assert desk.session.strip.query is None
    assert bool(desk.session.strip.words) is False or kind is FieldKind.NO_LEARNING
    desk.session.receive("zebrafish too")
    desk.session.send()
    desk.session.set_field_kind(FieldKind.TEXT)
    desk.line(THAI)
    (row,) = desk.log.impressions()
    assert row.impression.context == THAI
    assert desk.log.usage_unreported() == [UsageCount("treatment", 1, 1, 1, 0)]
    assert b"zebrafish" not in desk.on_disk()


def test_a_password_gets_no_words(seat: Seat) -> None:
    desk = seat(kind=FieldKind.PASSWORD)
    desk.keys("the")
    assert desk.session.strip == Strip()


def test_incognito_still_completes_words(seat: Seat) -> None:
    desk = seat(kind=FieldKind.NO_LEARNING)
    desk.keys("restau")
    assert "restaurant" in desk.session.strip.words


@pytest.mark.parametrize("kind", [FieldKind.PASSWORD, FieldKind.NO_LEARNING])
def test_a_line_that_was_private_for_one_key_is_private_as_a_whole(seat: Seat, kind: FieldKind) -> None:
    desk = seat()
    desk.keys("zebrafish and ")
    desk.session.set_field_kind(kind)
    desk.keys("x")
    desk.session.set_field_kind(FieldKind.TEXT)
    desk.keys(THAI)
    assert desk.session.strip.query is None
    desk.session.send()
    desk.line(THAI)
    assert [row.impression.context for row in desk.log.impressions()] == [THAI]
    assert b"zebrafish" not in desk.on_disk()


def test_long_numbers_never_reach_the_file(seat: Seat) -> None:
    desk = seat()
    desk.session.receive("is your card still 4111 1111 1111 1111?")
    desk.line(f"yes 4111-1111-1111-1111, {THAI}")
    (row,) = desk.log.impressions()
    assert row.impression.context == f"is your card still ⟨number⟩?\nyes ⟨number⟩, {THAI}"
    assert b"4111" not in desk.on_disk()
