"""Claims about typing by touch and by hardware keys, on real pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keyboard_app.window import keys as keys_module
from keyboard_app.window.partner import ScriptedPartner

pytestmark = pytest.mark.xdist_group("window")


def test_touched_letters_are_composed(rig: Any) -> None:
    rig.type("hello you")
    assert rig.session.composed == "hello you"


def test_a_key_lights_up_and_shows_its_preview_while_touched(rig: Any) -> None:
    before = rig.pixels()
    finger = rig.press("g")
    during = rig.pixels()
    assert rig.screen.keyboard.previews_shown == 1
    assert np.abs(during.astype(int) - before).max() > 20
    finger.touch_up()
    rig.frames()
    assert rig.screen.keyboard.previews_shown == 0
    assert rig.session.composed == "g"


def test_the_gap_between_keys_is_not_dead(rig: Any) -> None:
    left, right = rig.screen.keyboard.centre_of("q"), rig.screen.keyboard.centre_of("w")
    rig.tap((left[0] + right[0]) / 2, left[1])
    assert rig.session.composed in ("q", "w")


def test_overlapping_fingers_lose_no_key(rig: Any) -> None:
    text = "the quick brown fox jumps over the lazy dog"
    held = None
    for character in text:
        finger = rig.press(character)
        if held is not None:
            held.touch_up()
        held = finger
    held.touch_up()
    assert rig.session.composed == text


def test_three_fingers_at_once_type_in_order(rig: Any) -> None:
    fingers = [rig.press(character) for character in "abc"]
    for finger in fingers:
        finger.touch_up()
    assert rig.session.composed == "abc"


def test_a_finger_that_slides_to_the_neighbour_types_the_neighbour(rig: Any) -> None:
    finger = rig.press("g")
    finger.touch_move(*rig.screen.keyboard.centre_of("h"))
    finger.touch_up()
    assert rig.session.composed == "h"


def test_a_finger_that_leaves_the_keyboard_types_nothing(rig: Any) -> None:
    finger = rig.press("g")
    finger.touch_move(200, 700)
    finger.touch_up()
    assert rig.session.composed == ""


def test_shift_by_touch(rig: Any) -> None:
    rig.key("shift")
    rig.key("h")
    rig.key("i")
    assert rig.session.composed == "Hi"


def test_caps_lock_by_double_tap(rig: Any) -> None:
    rig.key("shift")
    rig.key("shift")
    rig.key("o")
    rig.key("k")
    rig.key_clock.now += 5
    rig.key("shift")
    rig.key("o")
    assert rig.session.composed == "OKo"


def test_shift_changes_the_labels_on_the_screen(rig: Any) -> None:
    before = rig.pixels()
    rig.key("shift")
    assert (rig.pixels() != before).any()


def test_symbols_by_touch(rig: Any) -> None:
    rig.key("?123")
    rig.key("4")
    rig.key("=\\<")
    rig.key("€")
    rig.key("ABC")
    rig.key("a")
    assert rig.session.composed == "4€a"


def test_backspace_deletes_one_character(rig: Any) -> None:
    rig.type("abc")
    rig.key("backspace")
    assert rig.session.composed == "ab"


def test_backspace_repeats_while_held(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "REPEAT_AFTER_S", 0.0)
    monkeypatch.setattr(keys_module, "REPEAT_EVERY_S", 0.0)
    rig.type("hello there")
    finger = rig.press("backspace")
    rig.frames_until(lambda: rig.session.composed == "")
    finger.touch_up()
    rig.type("a")
    rig.frames(5)
    assert rig.session.composed == "a"


def test_a_completion_is_taken_by_touch(rig: Any) -> None:
    rig.type("restaur")
    best = rig.screen.words.words[1]
    assert best == rig.session.strip.words[0]
    rig.tap_box(rig.screen.words.box(1))
    assert rig.session.composed == best + " "


def test_backspace_takes_a_completion_back(rig: Any) -> None:
    rig.type("restaur")
    rig.tap_box(rig.screen.words.box(1))
    rig.key("backspace")
    assert rig.session.composed == "restaur"


def test_the_strip_is_never_blank_while_typing(rig: Any) -> None:
    for character in "i xqzt wonder whether ":
        rig.type(character)
        assert any(rig.screen.words.words)


def test_the_word_touched_is_the_word_taken_even_if_the_strip_changes_meanwhile(rig: Any) -> None:
    rig.type("restaur")
    touched = rig.screen.words.words[1]
    x, y, width, height = rig.screen.words.box(1)
    finger = rig.touch(x + width / 2, y + height / 2)
    rig.screen.words.show(("something", "else", "entirely"))
    finger.touch_up()
    assert rig.session.composed == touched + " "


def test_send_clears_the_line_and_shows_it_on_the_right(rig: Any) -> None:
    rig.type("see you")
    before = rig.pixels()
    rig.key("send")
    assert rig.session.composed == ""
    assert rig.screen.conversation.lines[-1] == ("see you", True)
    assert (rig.pixels() != before).any()


def test_sending_nothing_sends_nothing(rig: Any) -> None:
    rig.type("  ")
    rig.key("send")
    assert rig.screen.conversation.lines == []


def test_the_partner_answers_and_the_session_hears_it(make_rig: Callable[..., Any]) -> None:
    partner = ScriptedPartner()
    rig = make_rig(partner=partner)
    assert [text for text, own in rig.screen.conversation.lines if not own] == list(partner.opening)
    rig.type("hi")
    rig.key("send")
    rig.screen.dialogue._answers[-1].cancel()
    rig.screen.dialogue.receive(ScriptedPartner().answer("hi"))
    assert rig.screen.conversation.lines[-1] == (ScriptedPartner().answer("hi"), False)


def test_a_long_line_wraps_and_the_keys_stay_where_they_are(rig: Any) -> None:
    before = rig.screen.keyboard.centre_of("q")
    rig.type("a rather long line that does not fit into one row of the field at all")
    assert rig.screen.composer.rows > 1
    assert rig.screen.keyboard.centre_of("q") == before


def test_a_long_chat_stays_at_its_newest_line(rig: Any) -> None:
    for number in range(30):
        rig.screen.dialogue.receive(f"line {number}")
    rig.frames(4)
    assert rig.screen.conversation.scroll_y == 0
    assert len(rig.screen.conversation.lines) == 30


def test_hardware_keys_take_the_same_path(rig: Any, window: Any) -> None:
    for character in "Hi you":
        window.dispatch("on_textinput", character)
    window.dispatch("on_key_down", 8, 42, None, [])
    window.dispatch("on_key_down", 276, 80, None, [])
    window.dispatch("on_textinput", "x")
    assert rig.session.composed == "Hi yxo"
    window.dispatch("on_key_down", 13, 40, None, [])
    assert rig.session.composed == ""
    assert rig.screen.conversation.lines == [("Hi yxo", True)]
