"""A small menu over the screen: what a long press offers. A touch beside it, or Escape, puts it away."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, RoundedBox, Text, inside, text_width
from keyboard_app.window.theme import Theme, faded

LONG_PRESS_S = 0.30
"""A word or query held for this long opens its menu."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a menu."""

    label: str
    act: Callable[[], object] = field(compare=False)


class Menu(Widget):
    """Lines to choose from, above the thing that was pressed. Covers its parent, so that a touch elsewhere ends it.

    Args:
        theme: colours.
        close: called when it is to be put away, before anything chosen happens.
    """

    def __init__(self, theme: Theme, close: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._close = close
        self._title = ""
        self._items: tuple[Item, ...] = ()
        self._anchor: Box = (0, 0, 0, 0)
        self._boxes: list[Box] = []
        self._pressed: int | None = None
        self.bind(pos=self._draw, size=self._draw)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it offers."""
        return tuple(item.label for item in self._items)

    def show(self, title: str, items: Sequence[Item], anchor: Box) -> None:
        """Offer ``items`` above ``anchor``, a rectangle in window pixels."""
        self._title, self._items, self._anchor = title, tuple(items), anchor
        self._draw()

    def box(self, number: int) -> Box:
        """Rectangle of a line, in window pixels."""
        return self._boxes[number]

    def targets(self) -> list[Target]:
        """What can be focused while it is open: nothing but its lines."""
        return [
            Target(item.label, box, partial(self._choose, number))
            for number, (item, box) in enumerate(zip(self._items, self._boxes, strict=True))
        ]

    def _draw(self, *_: object) -> None:
        self.canvas.clear()
        self._boxes = []
        if not self._items or self.width < 2:
            return
        theme, size = self._theme, round(sp(16))
        row, head, pad = dp(46), dp(34), dp(16)
        wanted = max(text_width(line, size) for line in (self._title, *self.labels)) + 2 * pad
        width = min(max(wanted, dp(190)), self.width - dp(16))
        height = head + row * len(self._items) + dp(6)
        x = min(max(self._anchor[0] + self._anchor[2] / 2 - width / 2, self.x + dp(8)), self.right - width - dp(8))
        y = min(self._anchor[1] + self._anchor[3] + dp(4), self.top - height - dp(8))
        group = InstructionGroup()
        group.add(Color(0, 0, 0, 0.28))
        group.add(Rectangle(pos=self.pos, size=self.size))
        RoundedBox(group, theme.field_line, dp(14)).place(x - 1, y - 1, width + 2, height + 2)
        RoundedBox(group, theme.field, dp(13)).place(x, y, width, height)
        title = Text(group, theme.ink_soft, sp(13))
        title.show(self._title, room=width - 2 * pad)
        title.left(x + pad, y + height - head / 2)
        for number, item in enumerate(self._items):
            bottom = y + height - head - row * (number + 1)
            box = (x + dp(4), bottom, width - dp(8), row)
            lit = RoundedBox(group, theme.key_pressed if number == self._pressed else faded(theme.field, 0.0), dp(10))
            lit.place(*box)
            label = Text(group, theme.ink, size)
            label.show(item.label, room=width - 2 * pad)
            label.left(x + pad, bottom + row / 2)
            self._boxes.append(box)
        self.canvas.add(group)

    def _at(self, touch: Any) -> int | None:
        return next((number for number, box in enumerate(self._boxes) if inside(box, *touch.pos)), None)

    def _choose(self, number: int) -> None:
        item = self._items[number]
        self._close()
        item.act()

    def on_touch_down(self, touch: Any) -> bool:
        """Take every touch; one beside the lines puts the menu away."""
        touch.grab(self)
        self._pressed = self._at(touch)
        if self._pressed is None:
            self._close()
        else:
            self._draw()
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Choose the line that the finger came down on."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        pressed, self._pressed = self._pressed, None
        if pressed is not None and pressed == self._at(touch):
            self._choose(pressed)
        elif self.parent is not None:
            self._draw()
        return True
