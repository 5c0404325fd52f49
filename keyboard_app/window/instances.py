"""Several keyboards side by side in one window: for presentations, each with a store and a device of its own.

One process and one window: it looks the same on every desktop, needs no window manager to place anything, and one
picture shows it all. The hardware keyboard types into the keyboard that was touched last.
"""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kivy.graphics import Color, Line, Rectangle
from kivy.metrics import dp
from kivy.uix.widget import Widget

from keyboard_app.window.painting import Box
from keyboard_app.window.shell import Shell
from keyboard_app.window.theme import Theme

GAP_DP = 6
_NARROWEST_DP = 300
"""A keyboard narrower than this goes into the next row of the window, where there is height for it."""


def tiles(count: int, width: float, height: float, gap: float, narrowest: float) -> list[Box]:
    """Rectangles for ``count`` keyboards in a window: one row while they are wide enough, else two.

    Returns:
        (x, y, width, height) of each, the first at the upper left.
    """
    rows = 1 if (width - gap * (count - 1)) / count >= narrowest or height < 2 * narrowest else 2
    columns = -(-count // rows)
    tile_width, tile_height = (width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows
    return [
        (
            (number % columns) * (tile_width + gap),
            height - (number // columns + 1) * tile_height - (number // columns) * gap,
            tile_width,
            tile_height,
        )
        for number in range(count)
    ]


class Instances(Widget):
    """Keyboards side by side.

    Args:
        shells: the keyboards, in reading order.
        theme: colours of what lies between them.
    """

    drawn_by_children = True

    def __init__(self, shells: Sequence[Shell], theme: Theme, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shells = list(shells)
        self._active = self.shells[0]
        with self.canvas.before:
            Color(*theme.field_line)
            self._ground = Rectangle()
        for shell in self.shells:
            shell.size_hint = (None, None)
            self.add_widget(shell)
        with self.canvas.after:
            Color(*theme.accent)
            self._frame = Line(width=dp(1.2))
        self.bind(pos=self._place, size=self._place)
        self._place()

    @property
    def active(self) -> Shell:
        """The keyboard that the hardware keyboard types into."""
        return self._active

    def start(self) -> None:
        """Bring all of them to life."""
        for shell in self.shells:
            shell.start()
        self._activate(self.shells[0])

    def stop(self) -> None:
        """Undo :meth:`start`."""
        for shell in self.shells:
            shell.stop()

    def type(self, text: str) -> None:
        """Type into the active keyboard."""
        self._active.type(text)

    def hold_still(self) -> None:
        """Stop what blinks, for a picture."""
        for shell in self.shells:
            shell.hold_still()

    def on_touch_down(self, touch: Any) -> bool:
        """The keyboard that is touched becomes the active one."""
        for shell in self.shells:
            if shell.collide_point(*touch.pos):
                self._activate(shell)
                return bool(shell.on_touch_down(touch))
        return False

    def _activate(self, shell: Shell) -> None:
        self._active = shell
        shell.take_hardware()
        self._frame.rectangle = (*shell.pos, *shell.size)

    def _place(self, *_: object) -> None:
        self._ground.pos, self._ground.size = self.pos, self.size
        boxes = tiles(len(self.shells), self.width, self.height, dp(GAP_DP), dp(_NARROWEST_DP))
        for shell, (x, y, width, height) in zip(self.shells, boxes, strict=True):
            shell.pos, shell.size = (round(self.x + x), round(self.y + y)), (round(width), round(height))
        self._frame.rectangle = (*self._active.pos, *self._active.size)
