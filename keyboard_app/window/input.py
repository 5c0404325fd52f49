"""From keys to the typing session: shift, layers, and one path for the screen's keys and a hardware keyboard."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from keyboard_app.window.layouts import Action, Key, Layout, Rows

DOUBLE_TAP_S = 0.35
"""Two touches of shift within this time lock capitals."""


class Shift(enum.Enum):
    """State of the shift key."""

    OFF = "off"
    ONCE = "once"
    """The next letter is a capital."""
    LOCKED = "locked"


class Editor(Protocol):
    """What keys do to the text; the screen implements it on the typing session."""

    def insert(self, character: str) -> None:
        """Type one character."""

    def delete(self) -> None:
        """Delete one character backwards."""

    def move(self, by: int) -> None:
        """Move the cursor by characters, negative for left."""

    def send(self) -> None:
        """Send the line."""


class KeyInput:
    """Keeps shift and layer, and turns fired keys into edits.

    Args:
        layout: the keyboard.
        editor: takes the edits.
        clock: monotonic seconds, for the double tap of shift.
        on_shown: called after shift or layer changed, so that the keys can be drawn anew.
    """

    def __init__(
        self, layout: Layout, editor: Editor, clock: Callable[[], float], on_shown: Callable[[], None] = lambda: None
    ) -> None:
        self.layout = layout
        self.layer = layout.first_layer
        self.shift = Shift.OFF
        self._editor = editor
        self._clock = clock
        self._on_shown = on_shown
        self._shift_touched = float("-inf")
        self._shift_held = False
        self._typed_under_shift = False

    @property
    def rows(self) -> Rows:
        """The keys shown now."""
        return self.layout.layers[self.layer]

    def label(self, key: Key) -> str:
        """What is drawn on ``key`` now."""
        if key.action is Action.TYPE and key.label == key.text:
            return self._typed(key)
        if key.action is Action.SHIFT:
            return {Shift.OFF: "⇧", Shift.ONCE: "⬆", Shift.LOCKED: "⇪"}[self.shift]
        if key.action is Action.SPACE:
            return self.layout.name
        return key.label

    def fire(self, key: Key) -> None:
        """A key of the screen takes effect."""
        match key.action:
            case Action.TYPE:
                self._editor.insert(self._typed(key))
                self._typed_under_shift = True
                if self.shift is Shift.ONCE and not self._shift_held:
                    self._show(shift=Shift.OFF)
            case Action.SPACE:
                self._editor.insert(" ")
                if self.layer != self.layout.first_layer:
                    self._show(layer=self.layout.first_layer)
            case Action.BACKSPACE:
                self._editor.delete()
            case Action.SEND:
                self._editor.send()
                self._show(layer=self.layout.first_layer, shift=Shift.OFF)
            case Action.LAYER:
                self._show(layer=key.target, shift=Shift.OFF)
            case Action.SHIFT:
                self._touch_shift()

    def released(self, key: Key) -> None:
        """A finger left ``key``: shift that was held while letters were typed goes off."""
        if key.action is Action.SHIFT:
            self._shift_held = False
            if self._typed_under_shift and self.shift is Shift.ONCE:
                self._show(shift=Shift.OFF)

    def hardware_text(self, text: str) -> None:
        """Text from a hardware keyboard, an input method or a test; control characters are dropped."""
        for character in text:
            if character.isprintable():
                self._editor.insert(character)

    def hardware_key(self, name: str) -> bool:
        """A hardware key by its Kivy name; True when it did something."""
        if name == "backspace":
            self._editor.delete()
        elif name in ("enter", "numpadenter"):
            self._editor.send()
        elif name in ("left", "right"):
            self._editor.move(-1 if name == "left" else 1)
        else:
            return False
        return True

    def _typed(self, key: Key) -> str:
        return key.text if self.shift is Shift.OFF else key.shifted

    def _touch_shift(self) -> None:
        now = self._clock()
        double = now - self._shift_touched <= DOUBLE_TAP_S
        self._shift_touched = now
        self._shift_held = True
        self._typed_under_shift = False
        if self.shift is Shift.LOCKED:
            self._show(shift=Shift.OFF)
        elif double:
            self._show(shift=Shift.LOCKED)
        else:
            self._show(shift=Shift.OFF if self.shift is Shift.ONCE else Shift.ONCE)

    def _show(self, layer: str | None = None, shift: Shift | None = None) -> None:
        layer = self.layer if layer is None else layer
        shift = self.shift if shift is None else shift
        if (layer, shift) != (self.layer, self.shift):
            self.layer, self.shift = layer, shift
            self._on_shown()
