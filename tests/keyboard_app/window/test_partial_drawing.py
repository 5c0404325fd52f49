"""What is drawn in parts looks like what is drawn whole."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.keyboard_app.window.conftest import SEARCH_WORTHY, PageRig, Rig


def area(boxes: Any) -> float:
    """Pixels in rectangles."""
    return sum(width * height for _, _, width, height in boxes)


def shown(root: Any) -> np.ndarray:
    """What is in the window's buffer where ``root`` lies: uint8[height, width, 3], lowest row first."""
    from kivy.graphics.opengl import glReadPixels

    pixels = glReadPixels(0, 0, root.width, root.height, 0x1907, 0x1401)
    return np.frombuffer(pixels, np.uint8).reshape(root.height, root.width, 3)


@pytest.fixture
def drawing(window: Any) -> Iterator[Callable[[], Any]]:
    """Draw in parts; at the end the window draws by itself again."""
    from keyboard_app.window.partial_drawing import PartialDrawing

    made: list[Any] = []

    def make() -> Any:
        made.append(PartialDrawing(window))
        made[-1].install()
        window.canvas.ask_update()
        return made[-1]

    yield make
    for partial in made:
        partial.remove()
    window.canvas.ask_update()


def assert_looks_whole(window: Any, drawing: Any, root: Any) -> None:
    """Draw everything over what was drawn in parts: nothing changes."""
    in_parts = shown(root).copy()
    drawing.remove()
    window.canvas.ask_update()
    window.dispatch("on_draw")
    whole = shown(root)
    drawing.install()
    # Smooth edges may be rounded otherwise where they are cut.
    different = np.argwhere((abs(in_parts.astype(int) - whole) > 3).any(axis=2))
    assert not len(different), f"rows {different[:, 0].min()}..{different[:, 0].max()} differ"


def test_a_software_renderer_keeps_what_was_shown(window: Any) -> None:
    from kivy.graphics.opengl import glGetString

    from keyboard_app.window.partial_drawing import keeps_what_was_shown

    software = b"llvmpipe" in glGetString(0x1F01)
    assert keeps_what_was_shown(window) == software


def test_a_key_press_draws_one_key_and_its_preview(make_rig: Callable[..., Rig], drawing: Callable[[], Any]) -> None:
    rig = make_rig()
    partial = drawing()
    rig.type("he")
    rig.frames(2)
    finger = rig.press("y")
    rig.frames(1)
    assert 0 < area(partial.drawn) < 0.05 * 420 * 800
    finger.touch_up()
    rig.frames(1)
    assert area(partial.drawn) < 0.5 * 420 * 800


def test_drawing_in_parts_shows_the_same_as_drawing_whole(
    window: Any, make_rig: Callable[..., Rig], drawing: Callable[[], Any]
) -> None:
    rig = make_rig(automatic=True)
    screen, rng = rig.screen, random.Random(7)
    partial = drawing()
    rig.frames(2)
    held: list[Any] = []

    def press() -> None:
        held.append(rig.press(rng.choice(["q", "a", "p", "shift", "m"])))

    def lift() -> None:
        while held:
            held.pop().touch_up()

    def slide() -> None:
        for finger in held:
            finger.touch_move(rng.uniform(0, 420), rng.uniform(0, 260))

    acts: list[Callable[[], object]] = [
        press, press, slide, lift, lift,
        lambda: rig.screen.keys.hardware_text(SEARCH_WORTHY + " "),
        screen.search.open,
        lambda: screen.insert("x"), screen.delete, screen.search.close, screen.send, screen.show_clipboard,
        lambda: screen.refusals.ask_about_word("the", screen.words.box(1)), screen.refusals.close,
        lambda: screen.dialogue.receive("and you?"), screen.toggle_incognito, screen.toggle_secret,
        lambda: screen.keys.choose_layout(rng.choice(["QWERTZ", "QWERTY"])),
        lambda: screen.focus.step(1) or screen.show_focus(), screen.end_focus,
        lambda: setattr(screen, "size", (4 * rng.randrange(85, 120), rng.randrange(560, 780))),
    ]  # fmt: skip
    for _ in range(60):
        rng.choice(acts)()
        rig.frames(rng.randrange(1, 3))
        assert_looks_whole(window, partial, screen)
    lift()


def test_pages_over_the_keys_are_drawn_whole(window: Any, page_rig: PageRig, drawing: Callable[[], Any]) -> None:
    partial = drawing()
    page_rig.frames(2)
    for open_page in (page_rig.shell.open_menu, page_rig.shell.open_privacy, page_rig.shell.back, page_rig.shell.back):
        open_page()
        page_rig.frames(1)
        assert_looks_whole(window, partial, page_rig.shell)


def test_rectangles_that_lie_near_become_one() -> None:
    from keyboard_app.window.partial_drawing import merged

    near = merged([(0, 0, 30, 50), (0, 60, 46, 60), (20, 40, 10, 10)])
    assert near == ((0, 0, 46, 120),)
    far = merged([(0, 0, 30, 50), (0, 700, 420, 100)])
    assert set(far) == {(0, 0, 30, 50), (0, 700, 420, 100)}
