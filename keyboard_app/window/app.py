"""The Kivy application: one keyboard, or several, in one window, from first frame to a clean end."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kivy.app import App
from kivy.clock import Clock
from kivy.core.window import Window

from keyboard_app.window.environment import settle_memory
from keyboard_app.window.event_loop import wait_for_events
from keyboard_app.window.instances import Instances
from keyboard_app.window.partial_drawing import PartialDrawing, keeps_what_was_shown
from keyboard_app.window.shell import Shell

TITLE = "Federated keyboard"


def take_picture(path: Path) -> None:
    """Write what the window shows to a PNG file.

    Raises:
        OSError: it cannot be written.
    """
    # Not Widget.export_to_png: it draws upside down into a buffer of its own, where scroll views clip what they show.
    Window.dispatch("on_draw")
    written = Window.screenshot(name=str(path.with_name(f".{path.stem}.png")))
    if written is None:
        raise OSError(f"the picture {path.name} could not be written")
    Path(written).replace(path)


class KeyboardApp(App):
    """Shows keyboards until the window is closed.

    Args:
        make_root: makes what is shown, once a window exists.
        exit_after_s: end by itself after so many seconds; None: when the person closes it.
        screenshot: where to write a PNG of the screen just before the end.
        type_text: typed into the line at the start, for pictures and presentations.
    """

    title = TITLE

    def __init__(
        self,
        make_root: Callable[[], Shell | Instances],
        exit_after_s: float | None = None,
        screenshot: Path | None = None,
        type_text: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._make_root = make_root
        self._exit_after_s = exit_after_s
        self._screenshot = screenshot
        self._type_text = type_text
        self._drawing: PartialDrawing | None = None

    def load_config(self) -> None:
        """Leave Kivy's own per-app .ini file alone: there is none."""

    def open_settings(self, *_: object) -> bool:
        """F1 opens no panel of Kivy's."""
        return False

    def build(self) -> Shell | Instances:
        """Make what is shown."""
        return self._make_root()

    def on_start(self) -> None:
        """Bring it to life."""
        wait_for_events()
        if keeps_what_was_shown(Window):
            self._drawing = PartialDrawing(Window)  # Kivy holds what is bound to it weakly
            self._drawing.install()
        self.root.start()
        self.root.type(self._type_text)
        if self._exit_after_s is not None:
            Clock.schedule_once(self._end, self._exit_after_s)
        settle_memory()

    def on_stop(self) -> None:
        """Let go of timers and the hardware keyboard."""
        self.root.stop()

    def _end(self, _dt: float) -> None:
        if self._screenshot is not None:
            self._screenshot.parent.mkdir(parents=True, exist_ok=True)
            self.root.hold_still()
            take_picture(self._screenshot)
        self.stop()
