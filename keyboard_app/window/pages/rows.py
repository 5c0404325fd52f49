"""What pages are made of: rows as plain values, and how each is drawn.

A page says what it shows as a tuple of rows; equal rows need no new drawing. Everything that can be acted upon comes
back as a :class:`~keyboard_app.window.focus.Target`, so that touch and keyboard reach the same things.
"""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp

from keyboard_app.window.composer import wrap
from keyboard_app.window.focus import Target
from keyboard_app.window.painting import RoundedBox, Text, text_width
from keyboard_app.window.theme import Colour, Theme, faded

Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Heading:
    """Names what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A line with something to say, and perhaps something to do."""

    name: str
    """Unique on its page; in words, also for whoever cannot see it."""
    title: str
    detail: str = ""
    value: str = ""
    """At the right, of second rank."""
    act: Act | None = field(default=None, compare=False)
    remove: Act | None = field(default=None, compare=False)
    """Adds a cross at the right."""
    leads: bool = False
    """Shows that a tap leads to another page."""
    initial: str = ""
    """Drawn in a disc at the left."""
    badge: int = 0
    open: bool = False
    """Nothing of title and detail is cut."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Something that is on or off."""

    name: str
    title: str
    on: bool
    act: Act = field(compare=False)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """Something to do."""

    name: str
    label: str
    act: Act = field(compare=False)
    primary: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Buttons:
    """Buttons side by side."""

    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """How far something is."""

    share: float
    """0..1"""


@dataclass(frozen=True, slots=True)
class Card:
    """Rows that belong together."""

    rows: tuple[Row, ...]


Row = Heading | Paragraph | Item | Switch | Button | Buttons | Bar | Card


class RowPainter:
    """Draws rows downwards, and collects what can be acted upon.

    Args:
        group: takes the drawing.
        theme: colours.
        x, width: the column in pixels.
        top: where the first row begins.
    """

    def __init__(self, group: InstructionGroup, theme: Theme, x: float, width: float, top: float) -> None:
        self._group, self._theme = group, theme
        self._x, self._width, self.y = x, width, top
        self.targets: list[Target] = []
        self._in_card = False

    def draw(self, row: Row) -> None:
        """Draw one row below what was drawn before."""
        match row:
            case Heading(text):
                self.y -= dp(20)
                self._lines(text, sp(14), self._theme.ink_soft, self._x + dp(4), self._width - dp(8), bold=True)
                self.y -= dp(8)
            case Paragraph(text, strong):
                ink = self._theme.ink if strong or self._in_card else self._theme.ink_soft
                self.y -= dp(4)
                self._lines(text, sp(16 if strong else 14.5), ink, self._x + dp(4), self._width - dp(8))
                self.y -= dp(8)
            case Card():
                self._card(row)
            case Item():
                self._item(row)
            case Switch():
                self._switch(row)
            case Button():
                self._buttons((row,))
            case Buttons(buttons):
                self._buttons(buttons)
            case Bar(share):
                self._bar(share)

    def _card(self, card: Card) -> None:
        group, top = self._group, self.y
        box = RoundedBox(group, self._theme.field, dp(16))
        x, width = self._x, self._width
        self._x, self._width = x + dp(14), width - dp(28)
        self.y -= dp(4)
        self._in_card = True
        for number, row in enumerate(card.rows):
            if number and isinstance(row, Item | Switch) and isinstance(card.rows[number - 1], Item | Switch):
                group.add(Color(*self._theme.bar_line))
                group.add(Rectangle(pos=(self._x, round(self.y)), size=(self._width, 1)))
            self.draw(row)
        self.y -= dp(4)
        self._in_card = False
        self._x, self._width = x, width
        box.place(x, self.y, width, top - self.y)
        self.y -= dp(12)

    def _item(self, item: Item) -> None:
        theme, top = self._theme, self.y
        left, right = self._x + dp(4), self._x + self._width - dp(2)
        if item.initial:
            left += dp(52)
        if item.remove is not None:
            right -= dp(38)
        if item.leads:
            right -= dp(18)
        if item.badge:
            right -= dp(32)
        value_width = min(text_width(item.value, round(sp(14))), self._width * 0.45)
        room = right - left - (value_width + dp(10) if item.value else 0)
        self.y -= dp(11)
        self._lines(item.title, sp(16), theme.ink, left, room, most=99 if item.open else 2)
        if item.detail:
            self.y -= dp(2)
            self._lines(item.detail, sp(14), theme.ink_soft, left, room, most=99 if item.open else 2)
        self.y = min(self.y - dp(11), top - dp(48 if not item.initial else 64))
        middle = (top + self.y) / 2
        if item.initial:
            RoundedBox(self._group, theme.accent, dp(20)).place(self._x + dp(4), middle - dp(20), dp(40), dp(40))
            self._text(item.initial, sp(17), theme.on_accent, bold=True).centre(self._x + dp(24), middle)
        if item.value:
            text = self._text(item.value, sp(14), theme.ink_soft, room=value_width + 1)
            text.left(right - text.width, middle)
        if item.badge:
            RoundedBox(self._group, theme.accent, dp(11)).place(right + dp(6), middle - dp(11), dp(22), dp(22))
            self._text(str(item.badge), sp(12), theme.on_accent, bold=True).centre(right + dp(17), middle)
        if item.leads:
            edge = self._x + self._width - (dp(38) if item.remove is not None else 0)
            self._text("›", sp(22), theme.ink_soft).centre(edge - dp(7), middle + dp(1))
        box = (self._x - dp(10), self.y, self._width + dp(20), top - self.y)
        if item.remove is not None:
            self._text("✕", sp(15), theme.ink_soft).centre(self._x + self._width - dp(16), middle)
            box = (box[0], box[1], box[2] - dp(44), box[3])
        if item.act is not None:
            self.targets.append(Target(item.name, box, item.act, item.remove))
        if item.remove is not None:
            cross = (self._x + self._width - dp(38), middle - dp(24), dp(46), dp(48))
            self.targets.append(Target(f"delete {item.name}", cross, item.remove))

    def _switch(self, switch: Switch) -> None:
        theme, top = self._theme, self.y
        room = self._width - dp(66)
        self.y -= dp(11)
        self._lines(switch.title, sp(16), theme.ink, self._x + dp(4), room)
        if switch.detail:
            self.y -= dp(2)
            self._lines(switch.detail, sp(14), theme.ink_soft, self._x + dp(4), room, most=6)
        self.y = min(self.y - dp(11), top - dp(48))
        middle, right = (top + self.y) / 2, self._x + self._width - dp(2)
        track = RoundedBox(self._group, theme.accent if switch.on else theme.switch_off, dp(12))
        track.place(right - dp(42), middle - dp(12), dp(42), dp(24))
        knob = RoundedBox(self._group, theme.on_accent if switch.on else (1.0, 1.0, 1.0, 1.0), dp(9))
        knob.place(right - (dp(21) if switch.on else dp(39)), middle - dp(9), dp(18), dp(18))
        self.targets.append(
            Target(switch.name, (self._x - dp(10), self.y, self._width + dp(20), top - self.y), switch.act)
        )

    def _buttons(self, buttons: tuple[Button, ...]) -> None:
        theme, gap, height = self._theme, dp(10), dp(46)
        self.y -= dp(8) + height
        width = (self._width - gap * (len(buttons) - 1)) / len(buttons)
        for number, button in enumerate(buttons):
            x = self._x + number * (width + gap)
            fill, ink = (theme.accent, theme.on_accent) if button.primary else (theme.function_key, theme.key_ink)
            if not button.enabled:
                fill, ink = faded(theme.function_key, 0.4), theme.ink_soft
            RoundedBox(self._group, fill, dp(23)).place(x, self.y, width, height)
            text = self._text(button.label, sp(15.5), ink, bold=button.primary, room=width - dp(16))
            text.centre(x + width / 2, self.y + height / 2)
            if button.enabled:
                self.targets.append(Target(button.name, (x, self.y, width, height), button.act))
        self.y -= dp(10)

    def _bar(self, share: float) -> None:
        self.y -= dp(14)
        RoundedBox(self._group, faded(self._theme.switch_off, 0.35), dp(4)).place(
            self._x + dp(4), self.y, self._width - dp(8), dp(8)
        )
        RoundedBox(self._group, self._theme.accent, dp(4)).place(
            self._x + dp(4), self.y, max((self._width - dp(8)) * min(share, 1.0), dp(8)), dp(8)
        )
        self.y -= dp(8)

    def _text(self, text: str, size: float, colour: Colour, bold: bool = False, room: float = 1e9) -> Text:
        drawn = Text(self._group, colour, size, bold)
        drawn.show(text, room=room)
        return drawn

    def _lines(
        self, text: str, size: float, colour: Colour, x: float, room: float, bold: bool = False, most: int = 99
    ) -> None:
        """Draw text on as many lines as it needs, at most ``most``; the last is cut with an ellipsis."""
        lines = [line for part in text.split("\n") for line in wrap(part, room, round(size))]
        if len(lines) > most:
            lines = [*lines[: most - 1], "".join(lines[most - 1 :])]
        height = size * 1.36
        for line in lines:
            drawn = self._text(line.rstrip(), size, colour, bold, room)
            drawn.left(x, self.y - height / 2)
            self.y -= height
