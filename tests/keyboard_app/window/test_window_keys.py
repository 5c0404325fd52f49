"""Claims about the keys beyond typing: alternates, cursor, languages, emoji, capitals, the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyboard_app.window import conversation as conversation_module
from keyboard_app.window import keys as keys_module
from keyboard_app.window.clipboard import KEPT_S

pytestmark = pytest.mark.xdist_group("window")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long presses without waiting."""
    monkeypatch.setattr(keys_module, "LONG_PRESS_S", 0.0)
    monkeypatch.setattr(conversation_module, "LONG_PRESS_S", 0.0)


def test_a_long_press_is_at_most_300_ms() -> None:
    assert keys_module.LONG_PRESS_S <= 0.3


@pytest.mark.usefixtures("quick")
def test_a_long_press_offers_alternates_and_takes_the_one_the_finger_slides_to(rig: Any) -> None:
    before = rig.pixels()
    finger = rig.press("e")
    rig.frames_until(lambda: rig.screen.keyboard.alternates_shown is not None)
    row = rig.screen.keyboard.alternates_shown
    assert (rig.pixels() != before).any()
    wanted = next(number for number, key in enumerate(row.keys) if key.text == "é")
    x, y, width, height = row.box(wanted)
    finger.touch_move(x + width / 2, y + height / 2)
    finger.touch_up()
    assert rig.session.composed == "é"
    assert rig.screen.keyboard.alternates_shown is None


@pytest.mark.usefixtures("quick")
def test_a_long_press_that_just_lifts_takes_the_first_alternate(rig: Any) -> None:
    finger = rig.press("q")
    rig.frames_until(lambda: rig.screen.keyboard.alternates_shown is not None)
    finger.touch_up()
    assert rig.session.composed == "1"


@pytest.mark.usefixtures("quick")
def test_another_finger_settles_the_alternate(rig: Any) -> None:
    finger = rig.press("q")
    rig.frames_until(lambda: rig.screen.keyboard.alternates_shown is not None)
    other = rig.press("a")
    assert rig.screen.keyboard.alternates_shown is None
    finger.touch_up()
    other.touch_up()
    assert rig.session.composed == "1a"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("label", ["q", "e", "p", "a", "."])
@pytest.mark.parametrize("size", [(320, 520), (420, 800), (1280, 800)])
def test_alternates_stay_inside_the_window(make_rig: Callable[..., Any], size: tuple[int, int], label: str) -> None:
    rig = make_rig(size=size)
    finger = rig.press(label)
    rig.frames_until(lambda: rig.screen.keyboard.alternates_shown is not None)
    row = rig.screen.keyboard.alternates_shown
    for number in range(len(row.keys)):
        x, y, width, height = row.box(number)
        assert x >= 0
        assert x + width <= size[0]
        assert y + height <= size[1]
    finger.touch_up()


def test_dragging_the_space_bar_moves_the_cursor_and_types_nothing(rig: Any) -> None:
    rig.type("hello")
    x, y = rig.screen.keyboard.centre_of("space")
    finger = rig.touch(x, y)
    for step in range(1, 6):
        finger.touch_move(x - step * keys_module.DRAG_STEP_DP, y)
    finger.touch_up()
    assert rig.session.composed == "hello"
    assert rig.session.cursor == 0
    rig.key("j")
    assert rig.session.composed == "jhello"


def test_a_finger_that_trembles_on_the_space_bar_types_a_space(rig: Any) -> None:
    rig.type("a")
    x, y = rig.screen.keyboard.centre_of("space")
    finger = rig.touch(x, y)
    finger.touch_move(x + 4, y + 2)
    finger.touch_up()
    assert rig.session.composed == "a "


def test_the_language_key_changes_letters_words_and_the_space_bar(rig: Any) -> None:
    before = rig.pixels()
    rig.key("language")
    assert rig.languages == ["de"]
    assert (rig.pixels() != before).any()
    rig.key("ü")
    rig.key("language")
    rig.key("ñ")
    assert rig.session.composed == "üñ"
    assert rig.languages == ["de", "es"]


def typed_by_keys(rig: Any) -> list[str]:
    """What the keys on the screen type, in their order, but for space."""
    return [target.key.text for target in rig.screen.keyboard._placed if target.key.text.strip()]


def test_emoji_are_typed_from_pages_and_shown_in_colour(rig: Any) -> None:
    rig.key("☺")
    image = rig.pixels()[-round(rig.screen.keyboard.height) :, :, :3].astype(int)
    yellow = (image[..., 0] > 200) & (image[..., 1] > 150) & (image[..., 2] < 120)
    assert yellow.mean() > 0.02
    rig.key("😃")
    rig.key("❤")
    rig.key("👍")
    rig.key("ABC")
    rig.key("a")
    assert rig.session.composed == "😃👍a"
    rig.key("backspace")
    rig.key("backspace")
    assert rig.session.composed == "😃"
    rig.key("send")
    chat = rig.pixels()[: -round(rig.screen.keyboard.height) - 150, :, :3].astype(int)
    yellow = (chat[..., 0] > 200) & (chat[..., 1] > 150) & (chat[..., 2] < 120)
    assert yellow.sum() > 50


def test_emoji_typed_lately_come_first_but_none_moves_under_the_finger(rig: Any) -> None:
    rig.key("☺")
    rig.key("🐶")
    rig.key("🦄")
    rig.key("🐢")
    rig.key("🕒")
    shown = typed_by_keys(rig)
    assert shown[:3] == ["🐢", "🦄", "👍"]
    assert len(shown) == len(set(shown)) == 30
    rig.key("🦄")
    assert typed_by_keys(rig) == shown
    rig.key("😀")
    rig.key("🕒")
    assert next(iter(typed_by_keys(rig))) == "🦄"
    rig.screen.forget()
    rig.key("ABC")
    rig.key("☺")
    rig.key("🕒")
    assert next(iter(typed_by_keys(rig))) == "👍"


def test_emoji_typed_into_a_password_are_not_remembered(rig: Any) -> None:
    rig.screen.toggle_secret()
    rig.key("☺")
    rig.key("🐶")
    rig.key("🦄")
    rig.screen.toggle_secret()
    rig.key("🕒")
    assert "🦄" not in typed_by_keys(rig)


def test_the_number_pad_types_numbers(rig: Any) -> None:
    rig.key("?123")
    rig.key("12\n34")
    for digit in "407":
        rig.key(digit)
    rig.key("ABC")
    assert rig.session.composed == "407"


def test_a_sentence_begins_with_a_capital_and_ends_with_two_spaces(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(automatic=True)
    rig.key("H")
    rig.key("i")
    rig.key("space")
    rig.key("space")
    rig.key("O")
    rig.key("k")
    assert rig.session.composed == "Hi. Ok"


def test_backspace_takes_the_full_stop_back(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(automatic=True)
    for label in ("H", "i", "space", "space", "backspace"):
        rig.key(label)
    assert rig.session.composed == "Hi "


def test_a_password_begins_with_no_capital(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(automatic=True)
    rig.tap_box(rig.screen.composer.switch_box)
    rig.key("h")
    assert rig.session.composed == "h"


def test_what_was_copied_is_offered_and_pasted_by_touch(rig: Any) -> None:
    rig.clipboard.text = "meet me at\nthe pier"
    rig.key("?123")
    rig.key("clipboard")
    assert rig.screen.clipboard.clips == ("meet me at\nthe pier",)
    rig.frames(2)
    rig.tap_box(rig.screen.clipboard.box(0))
    assert rig.session.composed == "meet me at the pier"
    assert rig.screen.clipboard.parent is None


def test_clips_are_forgotten_after_a_while_and_on_request(rig: Any) -> None:
    clips = rig.screen.clips
    rig.clipboard.text = "one"
    assert clips.clips() == ("one",)
    rig.clipboard.text = "two"
    assert clips.clips() == ("two", "one")
    rig.clipboard.text = ""
    rig.key_clock.now += KEPT_S + 1
    assert clips.clips() == ()
    rig.clipboard.text = "three"
    rig.key("?123")
    rig.key("clipboard")
    rig.tap_box(rig.screen.clipboard.cross_box)
    assert rig.screen.clipboard.clips == ()
    assert clips.clips() == (), "what was refused is not offered again"


@pytest.mark.usefixtures("quick")
def test_a_line_of_the_chat_held_long_is_copied(rig: Any) -> None:
    rig.screen.dialogue.receive("the code word is heron")
    rig.frames(4)
    finger = rig.touch(rig.screen.conversation.x + 40, rig.screen.conversation.y + 30)
    rig.frames_until(lambda: rig.clipboard.text != "")
    finger.touch_up()
    assert rig.clipboard.text == "the code word is heron"
    assert rig.screen.clips.clips() == ("the code word is heron",)


def test_hardware_copy_and_paste(rig: Any, window: Any) -> None:
    rig.clipboard.text = "pasted"
    window.dispatch("on_key_down", 118, 25, None, ["ctrl"])
    assert rig.session.composed == "pasted"
    rig.clipboard.text = ""
    window.dispatch("on_key_down", 99, 6, None, ["ctrl"])
    assert rig.clipboard.text == "pasted"


def test_a_password_is_never_copied(rig: Any, window: Any) -> None:
    rig.tap_box(rig.screen.composer.switch_box)
    rig.type("secret")
    window.dispatch("on_key_down", 99, 6, None, ["ctrl"])
    assert rig.clipboard.text == ""
