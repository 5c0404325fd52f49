"""A real screen on a real (off-screen) window, driven by touches, around a real session with the real bundle."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_logging import ImpressionLog, LoggedImpression
from keyboard_app.suggestions import Exploration, Preferences, SuggestionEngine, TypingSession
from keyboard_app.text import WordSuggester
from keyboard_app.window.environment import prepare
from keyboard_app.window.input import TypingHabits
from keyboard_app.window.layouts import load_layout
from keyboard_app.window.partner import ScriptedPartner
from keyboard_app.window.theme import load_theme
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from tests.clocks import SettableClock

# Before any test module imports what imports Kivy: afterwards the window has the size it has.
for _display in ("DISPLAY", "WAYLAND_DISPLAY"):
    os.environ.pop(_display, None)
_KIVY_HOME = tempfile.TemporaryDirectory()
prepare(Path(_KIVY_HOME.name), (1280, 800))

QUERIES = """query,category
thai restaurants in oakland,restaurants
weather in berlin,weather
flights to lisbon,travel
"""
SEARCH_WORTHY = "any good thai restaurants in oakland"
START = 1_750_000_000.0


@dataclass
class Clipboard:
    """The system's clipboard."""

    text: str = ""

    def paste(self) -> str:
        return self.text

    def copy(self, data: str) -> None:
        self.text = data


@dataclass
class Rig:
    """A screen and what it stands on, with hands."""

    screen: Any
    session: TypingSession
    engine: SuggestionEngine
    log: ImpressionLog
    clock: SettableClock
    key_clock: SettableClock
    opened: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=lambda: ["model 0 · waiting"])
    languages: list[str] = field(default_factory=list)
    clipboard: Clipboard = field(default_factory=Clipboard)

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
def window() -> Any:
    """Kivy's one window of this process, large enough for every screen, drawn off screen."""
    if "tensorflow" in sys.modules:
        pytest.exit(
            "TensorFlow is loaded, and its LLVM crashes the software GL driver: run `make unit`, which keeps them apart"
        )
    from kivy.base import EventLoop
    from kivy.clock import Clock

    EventLoop.ensure_window()
    assert tuple(EventLoop.window.size) == (1280, 800), "something imported Kivy before it was set up"
    Clock._max_fps = 0  # no waiting for the next frame
    return EventLoop.window


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
        layouts: Sequence[str] = ("qwerty", "qwertz", "spanish"),
        automatic: bool = False,
        suggester: WordSuggester | None = None,
        preferences: Preferences | None = None,
    ) -> Rig:
        from keyboard_app.window.screen import KeyboardScreen

        folder = tmp_path / str(len(rigs))
        folder.mkdir()
        (folder / "queries.csv").write_text(QUERIES)
        clock, key_clock = SettableClock(START), SettableClock(0.0)
        log = ImpressionLog(folder / "log.sqlite", clock=clock)
        engine = SuggestionEngine(
            bundle,
            load_catalog(folder / "queries.csv") if catalog is None else catalog,
            log,
            clock=clock,
            exploration=Exploration(0.0, 0.0),
        )
        engine.use_model(0, bundle.weights0, threshold)
        session = TypingSession(
            engine,
            log,
            words if suggester is None else suggester,
            clock,
            preferences=preferences,
            search_address="https://search.example/?q={query}",
        )
        opened: list[str] = []
        languages: list[str] = []
        clipboard = Clipboard()
        status = ["model 0 · waiting"]
        screen = KeyboardScreen(
            session,
            lambda: status[0],
            [load_layout(name) for name in layouts],
            load_theme(theme),
            partner,
            open_url=opened.append,
            clock=key_clock,
            on_language=languages.append,
            clipboard=clipboard,
            habits=TypingHabits(capitals=automatic, double_space_period=automatic),
            size_hint=(None, None),
            size=size,
        )
        rig = Rig(screen, session, engine, log, clock, key_clock, opened, status, languages, clipboard)
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


@dataclass
class PageRig:
    """A whole keyboard with its pages, on a store of its own, with hands."""

    keyboard: Any
    shell: Any
    window: Any

    @property
    def screen(self) -> Any:
        """What one types on."""
        return self.shell.screen

    @property
    def page(self) -> Any:
        """The page on top."""
        return self.shell.page

    def frames(self, count: int = 3) -> None:
        """Let the window draw."""
        from kivy.base import EventLoop

        for _ in range(count):
            EventLoop.idle()

    def finger(self, x: float, y: float) -> Any:
        """A finger that comes down."""
        from kivy.tests.common import UnitTestTouch

        finger = UnitTestTouch(x, y)
        finger.touch_down()
        return finger

    def tap_at(self, x: float, y: float) -> None:
        """A finger that comes down and lifts."""
        self.finger(x, y).touch_up()
        self.frames(2)

    def tap_box(self, box: tuple[float, float, float, float]) -> None:
        """Tap the middle of a rectangle."""
        self.tap_at(box[0] + box[2] / 2, box[1] + box[3] / 2)

    def tap(self, name: str) -> None:
        """Tap what has this name on the page, scrolled into view first."""
        self.page.reveal(name)
        self.frames(1)
        self.tap_box(self.page.target(name).box)

    def press_key(self, code: int, modifiers: Sequence[str] = ()) -> None:
        """Press a key of the hardware keyboard, by its key code."""
        self.window.dispatch("on_key_down", code, 0, None, list(modifiers))
        self.frames(1)

    def say(self, line: str, tap_query: bool = False) -> None:
        """Type a line, perhaps tap its query, and send it."""
        for character in line:
            self.screen.insert(character)
        if tap_query:
            self.tap_box(self.screen.pill.pill_box)
            self.screen.search.close()
        self.screen.send()

    def logged(self) -> list[LoggedImpression]:
        """Impressions in the log."""
        return list(self.keyboard.log.impressions())

    def pixels(self) -> np.ndarray:
        """What is shown: uint8[height, width, 4], top row first."""
        self.frames(3)
        texture = self.shell.export_as_image().texture
        image = np.frombuffer(texture.pixels, np.uint8).reshape(int(texture.height), int(texture.width), 4)
        return image if not texture.uvpos[1] else image[::-1]


@pytest.fixture
def make_page_rig(window: Any, tmp_path: Path) -> Iterator[Callable[..., PageRig]]:
    """Make whole keyboards; at the end they are taken down again. None of their devices runs by itself."""
    rigs: list[PageRig] = []

    def make(
        size: tuple[int, int] = (360, 640), theme: str = "light", home: Path | None = None, **setting: Any
    ) -> PageRig:
        from datetime import datetime

        from keyboard_app.device import DeviceIdentity
        from keyboard_app.window.assembly import KeyboardSetting, assemble
        from keyboard_app.window.chats import all_chats
        from keyboard_app.window.screen import KeyboardScreen
        from keyboard_app.window.shell import Shell

        home = tmp_path / f"home-{len(rigs)}" if home is None else home
        home.mkdir(exist_ok=True)
        while DeviceIdentity.open(home).arm() != "treatment":
            (home / "identity.key").unlink()
        keyboard = assemble(KeyboardSetting(home, **setting))
        keyboard.engine.exploration = Exploration(0.0, 0.0)
        colours = load_theme(theme)
        screen = KeyboardScreen(
            keyboard.session,
            keyboard.status_line,
            [load_layout()],
            colours,
            None,
            clipboard=Clipboard(),
            on_activity=keyboard.note_activity,
            habits=TypingHabits(capitals=False, double_space_period=False),
        )
        chats = all_chats(datetime(2026, 5, 4, 12))
        screen.dialogue.chat, screen.search.results = chats[0], keyboard.results
        shell = Shell(screen, colours, chats, keyboard.privacy(), keyboard.learning, size_hint=(None, None), size=size)
        window.add_widget(shell)
        shell.start()
        rig = PageRig(keyboard, shell, window)
        rig.frames(3)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.shell.stop()
        window.remove_widget(rig.shell)
        rig.keyboard.close()


@pytest.fixture
def page_rig(make_page_rig: Callable[..., PageRig]) -> PageRig:
    """A phone-sized keyboard with its pages, without a coordinator."""
    return make_page_rig()
