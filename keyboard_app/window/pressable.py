"""Parts of the screen made of named rectangles: what a finger comes down on acts when it lifts there."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from typing import Any

from kivy.uix.widget import Widget

from keyboard_app.window.painting import Box, inside

NO_BOX: Box = (0, 0, 0, 0)


class Pressable(Widget):
    """Made by subclasses that keep :attr:`boxes` up to date as they draw, and say what happens in :meth:`act`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boxes: dict[str, Box] = {}
        """Rectangle of each name, in window pixels."""
        self.pressed: str | None = None
        """What is under the finger."""

    def act(self, name: str) -> None:
        """A finger came down on ``name`` and lifted there."""

    def draw(self, *_: object) -> None:
        """Draw it as it is now, :attr:`pressed` in another shade."""

    def on_touch_down(self, touch: Any) -> bool:
        """Light up what is under the finger; no touch goes through to what lies below."""
        if not self.collide_point(*touch.pos):
            return False
        for name, box in self.boxes.items():
            if inside(box, *touch.pos):
                touch.grab(self)
                self.pressed = touch.ud[self] = name
                self.draw()
                break
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Act when the finger lifts where it came down."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self.pressed = None
        self.draw()
        name = touch.ud[self]
        if inside(self.boxes.get(name, NO_BOX), *touch.pos):
            self.act(name)
        return True
