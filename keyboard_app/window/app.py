"""The Kivy application: one screen in one window, from first frame to a clean end."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kivy.app import App
from kivy.clock import Clock

from keyboard_app.window.screen import KeyboardScreen

TITLE = "Federated keyboard"


class KeyboardApp(App):
    """Shows a screen until the window is closed.

    Args:
        make_screen: makes the screen, once a window exists.
        exit_after_s: end by itself after so many seconds; None: when the person closes it.
        screenshot: where to write a PNG of the screen just before the end.
        type_text: typed into the line at the start, for pictures and presentations.
    """

    title = TITLE

    def __init__(
        self,
        make_screen: Callable[[], KeyboardScreen],
        exit_after_s: float | None = None,
        screenshot: Path | None = None,
        type_text: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._make_screen = make_screen
        self._exit_after_s = exit_after_s
        self._screenshot = screenshot
        self._type_text = type_text

    def load_config(self) -> None:
        """Leave Kivy's own per-app .ini file alone: there is none."""

    def open_settings(self, *_: object) -> bool:
        """F1 opens no panel of Kivy's."""
        return False

    def build(self) -> KeyboardScreen:
        """Make the screen."""
        return self._make_screen()

    def on_start(self) -> None:
        """Bring the screen to life."""
        self.root.start()
        self.root.keys.hardware_text(self._type_text)
        if self._exit_after_s is not None:
            Clock.schedule_once(self._end, self._exit_after_s)

    def on_stop(self) -> None:
        """Let go of timers and the hardware keyboard."""
        self.root.stop()

    def _end(self, _dt: float) -> None:
        if self._screenshot is not None:
            self._screenshot.parent.mkdir(parents=True, exist_ok=True)
            self.root.composer.stop_blinking()
            self.root.export_to_png(str(self._screenshot))
        self.stop()
