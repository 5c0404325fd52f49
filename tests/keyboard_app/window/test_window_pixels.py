"""Claims about what is drawn: at phone and desktop sizes, light and dark, never blank, nothing outside."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from keyboard_app.window.theme import load_theme

pytestmark = pytest.mark.xdist_group("window")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 640), (420, 800), (1280, 800)])
def test_the_whole_screen_is_drawn(make_rig: Callable[..., Any], size: tuple[int, int], theme: str) -> None:
    rig = make_rig(size=size, theme=theme)
    rig.screen.dialogue.receive("hey! any plans?")
    rig.type("hello")
    image = rig.pixels()
    assert image.shape == (size[1], size[0], 4)
    assert (image[..., 3] == 255).all(), "no hole anywhere"
    keys = image[-round(rig.screen.keyboard.height) :]
    assert len(np.unique(keys.reshape(-1, 4), axis=0)) > 20, "keys and their labels"
    page = np.array(load_theme(theme).page[:3]) * 255
    lane = image[size[1] - round(rig.screen.composer.top) - 4, size[0] // 2, :3]
    assert np.abs(lane - page).max() < 3


def test_light_is_light_and_dark_is_dark(make_rig: Callable[..., Any]) -> None:
    light = make_rig(theme="light").pixels()[..., :3].mean()
    dark = make_rig(theme="dark").pixels()[..., :3].mean()
    assert light > 180
    assert dark < 70


@pytest.mark.parametrize("size", [(320, 520), (360, 640), (420, 800), (1280, 800)])
def test_every_key_is_big_enough_to_hit_and_inside(make_rig: Callable[..., Any], size: tuple[int, int]) -> None:
    rig = make_rig(size=size)
    for placed in rig.screen.keyboard._placed:
        assert placed.x >= 0
        assert placed.x + placed.width <= size[0]
        assert placed.width >= 24
        assert placed.height >= 34


def test_the_parts_do_not_overlap(make_rig: Callable[..., Any]) -> None:
    screen = make_rig(size=(360, 640)).screen
    parts = [screen.keyboard, screen.words, screen.composer, screen.pill, screen.conversation, screen.header]
    for below, above in pairwise(parts[:4]):
        assert above.y >= below.top - 1
    assert screen.conversation.y >= screen.composer.top
    assert screen.header.y >= screen.conversation.top - 1
    assert screen.header.top == 640


def test_a_change_of_size_is_followed(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(size=(360, 640))
    rig.screen.size = (800, 700)
    rig.frames(4)
    rig.type("abc")
    assert rig.session.composed == "abc"
    assert rig.pixels().shape[:2] == (700, 800)


def test_a_key_press_repaints_one_key_and_its_preview(rig: Any) -> None:
    rig.screen.composer.stop_blinking()
    before = rig.pixels()
    finger = rig.press("g")
    changed = (rig.pixels() != before).any(axis=2)
    finger.touch_up()
    assert 0 < changed.mean() < 0.03
