"""The hardware keyboard on the screen one types on: it types, it walks through everything, it has a few shortcuts."""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kivy.core.window import Window

from keyboard_app.suggestions import TypingSession
from keyboard_app.window.clipboard import ClipboardHistory
from keyboard_app.window.focus import FocusOrder
from keyboard_app.window.input import KeyInput
from keyboard_app.window.keys import KeyboardView

_ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}


class Screen(Protocol):
    """What hardware keys act on."""

    session: TypingSession
    keys: KeyInput
    keyboard: KeyboardView
    clips: ClipboardHistory
    focus: FocusOrder
    on_menu: Callable[[], object]

    @property
    def has_something_open(self) -> bool:
        """True while a card or a menu lies over the keys."""

    def put_away(self) -> bool:
        """Put away the card or menu that is open; False when there was none."""

    def paste(self, text: str) -> None:
        """Put a clip into the line."""

    def copy(self, text: str) -> None:
        """Copy the line being typed."""

    def show_focus(self) -> None:
        """Draw the ring where the focus is."""

    def end_focus(self) -> None:
        """Nothing has the focus any more."""


class HardwareKeys:
    """Hands what comes from the hardware keyboard to a screen, while it is that screen's.

    Args:
        screen: where keys act.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._keyboard: Any = None

    def take(self) -> None:
        """Let keys act here from now on."""
        if self._keyboard is None:
            self._keyboard = Window.request_keyboard(self._gone, self._screen, "text")
            self._keyboard.bind(on_key_down=self._on_key, on_textinput=self._on_text)

    def release(self) -> None:
        """Let keys act elsewhere."""
        if self._keyboard is not None:
            self._keyboard.release()
            self._gone()

    def _gone(self) -> None:
        keyboard, self._keyboard = self._keyboard, None
        if keyboard is not None:
            # Kivy hands the same object to whoever asks: without this, keys would still act here.
            keyboard.unbind(on_key_down=self._on_key, on_textinput=self._on_text)

    def _on_text(self, _keyboard: Any, text: str) -> None:
        screen = self._screen
        if screen.focus.focused is not None:
            if text == " ":
                return  # has acted on what has the focus
            screen.end_focus()
        screen.keys.hardware_text(text)
        for character in text:
            screen.keyboard.flash(character)

    def _on_key(self, _keyboard: Any, keycode: tuple[int, str], _text: str | None, modifiers: Any) -> bool:
        name, screen = keycode[1], self._screen
        if name == "f10":
            screen.on_menu()
            return True
        if self._move_focus(name, "shift" in modifiers):
            return True
        if name == "escape":
            return screen.put_away()
        if set(modifiers) & {"ctrl", "meta"}:
            return self._shortcut(name)
        return "alt" not in modifiers and screen.keys.hardware_key(name)

    def _shortcut(self, name: str) -> bool:
        screen = self._screen
        if name == "v":
            for clip in screen.clips.clips()[:1]:
                screen.paste(clip)
        elif name == "c":
            screen.copy(screen.session.composed)
        return name in ("v", "c")

    def _move_focus(self, name: str, backwards: bool) -> bool:
        """Tab begins; then arrows, Enter and space belong to the focus, Escape ends it. True when the key was taken."""
        screen, focus = self._screen, self._screen.focus
        if name == "tab":
            focus.step(-1 if backwards else 1)
            screen.show_focus()
            return True
        at = focus.focused
        if at is None:
            return False
        if name in _ARROWS:
            focus.move(*_ARROWS[name])
        elif name in ("enter", "numpadenter", "spacebar"):
            (at.hold if backwards and at.hold is not None else at.act)()
        elif name in ("compose", "menu") and at.hold is not None:
            at.hold()
        elif name == "escape" and not screen.has_something_open:
            focus.clear()
        else:
            return False
        screen.show_focus()
        return True
