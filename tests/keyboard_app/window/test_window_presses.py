"""Claims about rollover: overlapping fingers lose no key and swap none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.window.layouts import Action, Key
from keyboard_app.window.presses import Presses


def _letter(text: str) -> Key:
    return Key(Action.TYPE, text, text.upper(), text)


@given(st.data())
def test_any_overlap_of_fingers_fires_each_key_once_in_the_order_of_touching(data: st.DataObject) -> None:
    text = data.draw(st.text("abcdefgh", min_size=1, max_size=12))
    fired: list[str] = []
    presses = Presses(lambda key: fired.append(key.text))
    down: list[int] = []
    for number, character in enumerate(text):
        while down and data.draw(st.booleans()):
            presses.up(down.pop(data.draw(st.integers(0, len(down) - 1))))
        presses.down(number, _letter(character))
        down.append(number)
    for touch in data.draw(st.permutations(down)):
        presses.up(touch)
    assert "".join(fired) == text
    assert presses.held == ()


def test_a_letter_fires_when_the_finger_lifts() -> None:
    fired: list[Key] = []
    presses = Presses(fired.append)
    presses.down(1, _letter("a"))
    assert fired == []
    presses.up(1)
    assert [key.text for key in fired] == ["a"]


def test_a_finger_that_slides_fires_the_key_it_ends_on() -> None:
    fired: list[Key] = []
    presses = Presses(fired.append)
    presses.down(1, _letter("a"))
    presses.move(1, _letter("s"))
    presses.up(1)
    assert [key.text for key in fired] == ["s"]


def test_a_finger_that_slides_off_fires_nothing() -> None:
    fired: list[Key] = []
    presses = Presses(fired.append)
    presses.down(1, _letter("a"))
    presses.move(1, None)
    presses.up(1)
    assert fired == []


def test_a_key_that_rolled_over_does_not_fire_again_after_sliding() -> None:
    fired: list[Key] = []
    presses = Presses(fired.append)
    presses.down(1, _letter("a"))
    presses.down(2, _letter("b"))
    presses.move(1, _letter("s"))
    presses.up(1)
    presses.up(2)
    assert [key.text for key in fired] == ["a", "b"]


def test_backspace_and_shift_act_when_touched() -> None:
    fired: list[Key] = []
    released: list[Key] = []
    presses = Presses(fired.append, released.append)
    for number, action in enumerate((Action.BACKSPACE, Action.SHIFT)):
        presses.down(number, Key(action))
    assert [key.action for key in fired] == [Action.BACKSPACE, Action.SHIFT]
    presses.up(1)
    assert [key.action for key in released] == [Action.SHIFT]


def test_touches_that_the_window_lost_fire_nothing() -> None:
    fired: list[Key] = []
    presses = Presses(fired.append)
    presses.down(1, _letter("a"))
    presses.cancel()
    presses.up(1)
    assert fired == []
