"""The line being composed, with its cursor, and the switch that makes the field a password field."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kivy.clock import Clock
from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, LockGlyph, RoundedBox, Text, inside, text_width
from keyboard_app.window.theme import Theme, faded

MOST_ROWS = 3
"""Rows shown of a long line; the newest stay visible."""
BLINK_S = 0.53
TOLD_S = 1.2
"""How long a remark stays in the line."""
MOST_BLINKS = 20
"""Then the cursor rests until the next key: an idle keyboard draws nothing."""


def wrap(text: str, room: float, size_px: int) -> list[str]:
    """Break ``text`` into rows no wider than ``room`` pixels, after spaces where possible; at least one row."""
    rows: list[str] = []
    row = ""
    for word in _words(text):
        if row and text_width((row + word).rstrip(), size_px) > room:
            rows.append(row)
            row = ""
        while text_width(word.rstrip(), size_px) > room and len(word) > 1:
            fits = max(n for n in range(1, len(word)) if n == 1 or text_width(word[:n], size_px) <= room)
            rows.append(word[:fits])
            word = word[fits:]
        row += word
    return [*rows, row]


def row_of(rows: list[str], position: int) -> tuple[int, int]:
    """Row and column of a position in the text that ``rows`` were broken from."""
    for number, row in enumerate(rows):
        if position < len(row) or number == len(rows) - 1:
            return number, position
        position -= len(row)
    return 0, 0


def _words(text: str) -> list[str]:
    """Words with the spaces that follow them."""
    words: list[str] = []
    for character in text:
        if words and not (words[-1].endswith(" ") and character != " "):
            words[-1] += character
        else:
            words.append(character)
    return words


class Composer(Widget):
    """Shows the composed text; grows to :data:`MOST_ROWS` rows and tells so through ``on_rows``.

    Args:
        theme: colours.
        toggle_secret: called when the person switches between ordinary text and password.
        on_rows: called after the number of rows changed.
    """

    def __init__(
        self, theme: Theme, toggle_secret: Callable[[], None], on_rows: Callable[[], None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._toggle_secret = toggle_secret
        self._on_rows = on_rows
        self._text = ""
        self._at = 0
        self._hint = ""
        self._secret = False
        self._rows = 1
        self._size_px = round(sp(17))
        group = InstructionGroup()
        self._edge = RoundedBox(group, theme.field_line, dp(22))
        self._field = RoundedBox(group, theme.field, dp(21))
        self._switch_box = RoundedBox(group, theme.function_key, dp(17))
        self._switch_glyph = LockGlyph(group, theme.ink_soft, dp(19))
        self._lines = [Text(group, theme.ink, self._size_px) for _ in range(MOST_ROWS)]
        self._cursor_colour = Color(*theme.accent)
        group.add(self._cursor_colour)
        self._cursor = Rectangle(size=(max(2.0, dp(2)), sp(21)))
        group.add(self._cursor)
        self.canvas.add(group)
        self._switch: Box = (0, 0, 0, 0)
        self._blink: Any = None
        self._blinking = False
        self._blinks = 0
        self.bind(pos=self._draw, size=self._draw)

    @property
    def rows(self) -> int:
        """Rows shown now, 1..:data:`MOST_ROWS`."""
        return self._rows

    @property
    def wanted_height(self) -> float:
        """Height in pixels that the rows need."""
        return float(dp(32) + self._rows * sp(22))

    @property
    def switch_box(self) -> Box:
        """Where a touch switches the password field on and off, in window pixels."""
        return self._switch

    def targets(self) -> list[Target]:
        """What can be focused here."""
        return [Target("password field", self._switch, self._toggle_secret)]

    @property
    def cursor_x(self) -> float:
        """Where the cursor stands, in window pixels."""
        return float(self._cursor.pos[0])

    def start_blinking(self) -> None:
        """Let the cursor blink, until :meth:`stop_blinking`."""
        self._blinking = True
        self._blinks = 0
        if self._blink is None:
            self._blink = Clock.schedule_interval(self._blink_once, BLINK_S)

    def stop_blinking(self) -> None:
        """Leave the cursor on."""
        self._blinking = False
        self._rest()

    def tell(self, remark: str) -> None:
        """Say something in the line for a moment, while it is empty."""
        if not self._text:
            hint = self._hint
            self.show("", 0, remark, self._secret)
            Clock.schedule_once(lambda _dt: self._told(remark, hint), TOLD_S)

    def _told(self, remark: str, hint: str) -> None:
        if self._hint == remark:
            self.show(self._text, self._at, hint, self._secret)

    def _rest(self) -> None:
        if self._blink is not None:
            self._blink.cancel()
            self._blink = None
        self._cursor_colour.rgba = self._theme.accent

    def show(self, text: str, cursor: int, hint: str, secret: bool) -> None:
        """Show the composed text; ``hint`` stands there while it is empty, ``secret`` shows dots."""
        if (text, cursor, hint, secret) == (self._text, self._at, self._hint, self._secret):
            return
        self._text, self._at, self._hint, self._secret = text, cursor, hint, secret
        self._draw()
        if self._blinking:
            self.start_blinking()

    def _draw(self, *_: object) -> None:
        if self.width < dp(120):
            return
        x, y, width, height = self.x + dp(8), self.y + dp(5), self.width - dp(16), self.height - dp(10)
        self._edge.place(x, y, width, height)
        self._field.place(x + 1, y + 1, width - 2, height - 2)
        switch_width, switch_height = dp(34), dp(34)
        self._switch = (x, y, switch_width + dp(8), height)
        self._switch_box.place(x + dp(5), y + dp(5), switch_width, switch_height)
        self._switch_box.paint(self._theme.accent if self._secret else faded(self._theme.function_key, 0.45))
        ink = self._theme.on_accent if self._secret else self._theme.ink_soft
        self._switch_glyph.show(x + dp(5) + switch_width / 2, y + dp(5) + switch_height / 2, self._secret, ink)
        left = x + dp(5) + switch_width + dp(10)
        self._draw_text(left, x + width - dp(16) - left, y, height)

    def _draw_text(self, left: float, room: float, y: float, height: float) -> None:
        shown = "•" * len(self._text) if self._secret else self._text
        every_row = wrap(shown, room, self._size_px)
        cursor_row, column = row_of(every_row, self._at)
        begin = max(0, min(len(every_row) - MOST_ROWS, cursor_row))
        rows = every_row[begin : begin + MOST_ROWS]
        row_height = sp(22)
        first = y + height / 2 + (len(rows) - 1) * row_height / 2
        for number, line in enumerate(self._lines):
            line.paint(self._theme.ink)
            line.show(rows[number] if number < len(rows) else "")
            line.left(left, first - number * row_height)
        if not self._text:
            self._lines[0].paint(self._theme.ink_soft)
            self._lines[0].show(self._hint, room=room)
            self._lines[0].left(left, first)
        before = rows[cursor_row - begin][:column]
        cursor_x = left + (text_width(before, self._size_px) if self._text else -dp(3))
        self._cursor.pos = (
            round(min(cursor_x, left + room) + dp(1)),
            round(first - (cursor_row - begin) * row_height - self._cursor.size[1] / 2),
        )
        self._cursor_colour.rgba = self._theme.accent
        if len(rows) != self._rows:
            self._rows = len(rows)
            self._on_rows()

    def _blink_once(self, _dt: float) -> None:
        self._blinks += 1
        if self._blinks >= MOST_BLINKS:
            self._rest()
            return
        on = self._cursor_colour.a > 0.5
        self._cursor_colour.rgba = faded(self._theme.accent, 0.0 if on else 1.0)

    def on_touch_down(self, touch: Any) -> bool:
        """The switch at the left."""
        if not self.collide_point(*touch.pos):
            return False
        if inside(self._switch, *touch.pos):
            self._toggle_secret()
        return True
