"""Claims about reaching everything without touching, and about large text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyboard_app.window.focus import FocusOrder, Target

pytestmark = pytest.mark.xdist_group("window")

KEYS = {"tab": 9, "enter": 13, "escape": 27, "spacebar": 32, "up": 273, "down": 274, "right": 275, "left": 276}


def press(window: Any, name: str, *modifiers: str) -> None:
    window.dispatch("on_key_down", KEYS[name], 0, None, list(modifiers))


def go_to(rig: Any, window: Any, name: str) -> None:
    for _ in range(200):
        press(window, "tab")
        if rig.screen.focus.focused.name == name:
            return
    raise AssertionError(f"{name} cannot be reached")


def test_tab_walks_through_everything_once_and_comes_around(rig: Any, window: Any) -> None:
    rig.type("any good thai restaurants in oakland")
    names = [target.name for target in rig.screen.targets()]
    assert len(set(names)) == len(names)
    assert {"query", "dismiss query", "password field", "word 1", "key q"} <= set(names)
    walked = []
    for _ in names:
        press(window, "tab")
        walked.append(rig.screen.focus.focused.name)
    assert walked == names
    press(window, "tab", "shift")
    assert rig.screen.focus.focused.name == names[-2]


def test_the_focus_is_seen(rig: Any, window: Any) -> None:
    before = rig.pixels()
    press(window, "tab")
    assert (rig.pixels() != before).any()
    press(window, "escape")
    assert rig.screen.focus.focused is None


def test_a_word_is_taken_by_enter(rig: Any, window: Any) -> None:
    rig.type("restaur")
    go_to(rig, window, "word 1")
    press(window, "enter")
    assert rig.session.composed == "restaurant "


def test_a_query_is_opened_and_held_by_keyboard(rig: Any, window: Any) -> None:
    rig.type("any good thai restaurants in oakland")
    go_to(rig, window, "query")
    press(window, "enter", "shift")
    assert rig.screen.refusals.is_open
    press(window, "escape")
    assert not rig.screen.refusals.is_open
    go_to(rig, window, "query")
    press(window, "enter")
    assert rig.screen.search.is_open


def test_arrows_walk_over_the_keys_and_enter_types(rig: Any, window: Any) -> None:
    go_to(rig, window, "key q")
    press(window, "right")
    assert rig.screen.focus.focused.name == "key w"
    press(window, "down")
    assert rig.screen.focus.focused.name in ("key a", "key s")
    press(window, "up")
    press(window, "enter")
    assert rig.session.composed in ("q", "w")


def test_typing_ends_the_walk(rig: Any, window: Any) -> None:
    go_to(rig, window, "key q")
    window.dispatch("on_textinput", "x")
    assert rig.session.composed == "x"
    assert rig.screen.focus.focused is None


def test_space_acts_on_the_focus_and_types_nothing(rig: Any, window: Any) -> None:
    go_to(rig, window, "key q")
    press(window, "spacebar")
    window.dispatch("on_textinput", " ")
    assert rig.session.composed == "q"


def test_what_loses_its_target_hands_the_focus_on() -> None:
    targets = [Target(name, (x, 0, 10, 10), lambda: None) for x, name in enumerate("abc")]
    order = FocusOrder(lambda: targets)
    order.step(1)
    order.step(1)
    assert order.focused is targets[1]
    del targets[1]
    assert order.focused is targets[1]
    targets.clear()
    assert order.focused is None


@pytest.mark.parametrize("scale", ["1.0", "1.3", "1.6"])
def test_text_grows_with_the_scale_and_stays_in_its_place(tmp_path: Path, scale: str) -> None:
    program = f"""
import os
for name in ("DISPLAY", "WAYLAND_DISPLAY"): os.environ.pop(name, None)
from pathlib import Path
from keyboard_app.window.environment import prepare
prepare(Path({str(tmp_path)!r}), (420, 800), {scale})
from kivy.base import EventLoop
EventLoop.ensure_window()
from keyboard_app.suggestions import TypingSession
from keyboard_app.text import WordSuggester
from keyboard_app.window.layouts import load_layout
from keyboard_app.window.screen import KeyboardScreen
from keyboard_app.window.theme import load_theme
screen = KeyboardScreen(TypingSession(None, None, WordSuggester.shipped(correction=False)), lambda: "x",
    [load_layout()], load_theme("light"), size_hint=(None, None), size=(420, 800))
EventLoop.window.add_widget(screen)
screen.keys.hardware_text("restaur")
for _ in range(3): EventLoop.idle()
text = screen.words._texts[1]
assert text.height <= screen.words.height, (text.height, screen.words.height)
assert text.width <= screen.words.width / 3
print(text.size_px)
"""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=surroundings, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == round(17 * float(scale))


def test_every_target_is_inside_the_window(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(size=(360, 640))
    rig.type("any good thai restaurants in oakland")
    for target in rig.screen.targets():
        x, y, width, height = target.box
        assert x >= -1
        assert y >= -1
        assert x + width <= 361, target.name
        assert y + height <= 641, target.name
