"""A real screen on a real (off-screen) window, driven by touches, around a real session with the real bundle."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_logging import ImpressionLog, LoggedImpression
from keyboard_app.suggestions import Exploration, SuggestionEngine, TypingSession
from keyboard_app.text import WordSuggester
from keyboard_app.window.environment import prepare
from keyboard_app.window.layouts import load_layout
from keyboard_app.window.partner import ScriptedPartner
from keyboard_app.window.theme import load_theme
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog

QUERIES = """query,category
thai restaurants in oakland,restaurants
weather in berlin,weather
flights to lisbon,travel
"""
SEARCH_WORTHY = "any good thai restaurants in oakland"
START = 1_750_000_000.0


@dataclass
class SteppedClock:
    """Unix time that moves when told to."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """A screen and what it stands on, with hands."""

    screen: Any
    session: TypingSession
    engine: SuggestionEngine
    log: ImpressionLog
    clock: SteppedClock
    key_clock: SteppedClock
    opened: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=lambda: ["model 0 · waiting"])

    def frames(self, count: int = 3) -> None:
        """Let the window draw."""
        from kivy.base import EventLoop

        for _ in range(count):
            EventLoop.idle()

    def frames_until(self, reached: Callable[[], bool], most: int = 2000) -> None:
        """Draw until something is so; fail when it never is."""
        for _ in range(most):
            if reached():
                return
            self.frames(1)
        raise AssertionError("it did not happen")

    def touch(self, x: float, y: float) -> Any:
        """A finger that comes down."""
        from kivy.tests.common import UnitTestTouch

        finger = UnitTestTouch(x, y)
        finger.touch_down()
        return finger

    def tap(self, x: float, y: float) -> None:
        """A finger that comes down and lifts."""
        self.touch(x, y).touch_up()
        self.frames(1)

    def tap_box(self, box: tuple[float, float, float, float]) -> None:
        """Tap the middle of a rectangle."""
        self.tap(box[0] + box[2] / 2, box[1] + box[3] / 2)

    def press(self, label: str) -> Any:
        """A finger on a key, not yet lifted."""
        return self.touch(*self.screen.keyboard.centre_of(label))

    def key(self, label: str) -> None:
        """Tap a key."""
        self.tap(*self.screen.keyboard.centre_of(label))

    def type(self, text: str) -> None:
        """Tap the keys of lower-case letters and spaces."""
        for character in text:
            self.press(character).touch_up()
            self.clock.now += 0.1
        self.frames(2)

    def pixels(self) -> np.ndarray:
        """What is on the screen: uint8[height, width, 4], top row first."""
        self.frames(3)
        texture = self.screen.export_as_image().texture
        image = np.frombuffer(texture.pixels, np.uint8).reshape(int(texture.height), int(texture.width), 4)
        return image if not texture.uvpos[1] else image[::-1]

    def logged(self) -> list[LoggedImpression]:
        """Impressions in the log."""
        return list(self.log.impressions())


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Kivy's one window of this process, large enough for every screen, drawn off screen."""
    if "tensorflow" in sys.modules:
        pytest.exit(
            "TensorFlow is loaded, and its LLVM crashes the software GL driver: run `make unit`, which keeps them apart"
        )
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(display, None)
    prepare(tmp_path_factory.mktemp("home"), (1280, 800))
    from kivy.base import EventLoop
    from kivy.clock import Clock

    EventLoop.ensure_window()
    Clock._max_fps = 0  # no waiting for the next frame
    return EventLoop.window


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The bundle that ships."""
    return Bundle.shipped()


@pytest.fixture(scope="session")
def words() -> WordSuggester:
    """The shipped words, without correction (its dictionary takes a while to load)."""
    return WordSuggester.shipped(correction=False)


@pytest.fixture
def make_rig(window: Any, bundle: Bundle, words: WordSuggester, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Make screens; at the end they are taken down again."""
    rigs: list[Rig] = []

    def make(
        size: tuple[int, int] = (420, 800),
        theme: str = "light",
        partner: ScriptedPartner | None = None,
        threshold: float = -50.0,
        catalog: Any = None,
    ) -> Rig:
        from keyboard_app.window.screen import KeyboardScreen

        folder = tmp_path / str(len(rigs))
        folder.mkdir()
        (folder / "queries.csv").write_text(QUERIES)
        clock, key_clock = SteppedClock(), SteppedClock(0.0)
        log = ImpressionLog(folder / "log.sqlite", clock=clock)
        engine = SuggestionEngine(
            bundle,
            load_catalog(folder / "queries.csv") if catalog is None else catalog,
            log,
            clock=clock,
            exploration=Exploration(0.0, 0.0),
        )
        engine.use_model(0, bundle.weights0, threshold)
        session = TypingSession(engine, log, words, clock, search_address="https://search.example/?q={query}")
        opened: list[str] = []
        status = ["model 0 · waiting"]
        screen = KeyboardScreen(
            session,
            lambda: status[0],
            load_layout(),
            load_theme(theme),
            partner,
            open_url=opened.append,
            clock=key_clock,
            size_hint=(None, None),
            size=size,
        )
        rig = Rig(screen, session, engine, log, clock, key_clock, opened, status)
        window.add_widget(screen)
        screen.start()
        rig.frames(4)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.screen.stop()
        window.remove_widget(rig.screen)
        rig.log.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A phone-sized screen whose threshold lets every candidate through."""
    return make_rig()
