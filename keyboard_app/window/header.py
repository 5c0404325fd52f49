"""The header: with whom the person chats, what the device is doing, and the incognito switch."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kivy.graphics import Color, InstructionGroup, Rectangle, SmoothEllipse
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.painting import Box, RoundedBox, Text, inside
from keyboard_app.window.theme import Theme


class Header(Widget):
    """Two rows: partner and incognito switch above, the device's own line below."""

    def __init__(self, theme: Theme, partner: str, toggle_incognito: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._toggle_incognito = toggle_incognito
        self._incognito = False
        self._switch: Box = (0, 0, 0, 0)
        self.status = ""
        self.bleed = 0.0
        """The background reaches so many pixels beyond both sides: the header spans a window wider than the column."""
        group = InstructionGroup()
        self._back_colour = Color(*theme.bar)
        self._back = Rectangle()
        self._edge_colour = Color(*theme.bar_line)
        self._edge = Rectangle()
        for instruction in (self._back_colour, self._back, self._edge_colour, self._edge, Color(*theme.accent)):
            group.add(instruction)
        self._avatar = SmoothEllipse()
        group.add(self._avatar)
        self._initial = Text(group, theme.on_accent, sp(17), bold=True)
        self._initial.show(partner[:1].upper())
        self._name = Text(group, theme.ink, sp(18), bold=True)
        self._partner = partner
        self._dot_colour = Color(*theme.accent)
        group.add(self._dot_colour)
        self._dot = SmoothEllipse()
        group.add(self._dot)
        self._status = Text(group, theme.ink_soft, sp(13))
        self._switch_label = Text(group, theme.ink_soft, sp(13))
        self._track = RoundedBox(group, theme.switch_off, dp(11))
        self._knob = RoundedBox(group, (1.0, 1.0, 1.0, 1.0), dp(9))
        self.canvas.add(group)
        self.bind(pos=self._draw, size=self._draw)

    @property
    def switch_box(self) -> Box:
        """Where a touch switches incognito, in window pixels."""
        return self._switch

    def show(self, status: str, incognito: bool) -> None:
        """Show the device's line and the state of the switch."""
        if (status, incognito) == (self.status, self._incognito):
            return
        self.status, self._incognito = status, incognito
        self._draw()

    def _draw(self, *_: object) -> None:
        if self.width < dp(120):
            return
        theme, dark = self._theme, self._incognito
        ink = theme.on_incognito if dark else theme.ink
        soft = theme.on_incognito if dark else theme.ink_soft
        self._back_colour.rgba = theme.incognito if dark else theme.bar
        self._edge_colour.rgba = theme.incognito if dark else theme.bar_line
        left, width = self.x - self.bleed, self.width + 2 * self.bleed
        self._back.pos, self._back.size = (left, self.y), (width, self.height)
        self._edge.pos, self._edge.size = (left, self.y), (width, 1)

        row = self.top - dp(28)
        self._avatar.pos, self._avatar.size = (self.x + dp(12), row - dp(18)), (dp(36), dp(36))
        self._initial.centre(self.x + dp(30), row)
        self._track.place(self.right - dp(50), row - dp(11), dp(38), dp(22))
        self._track.paint(theme.accent if dark else theme.switch_off)
        self._knob.place(self.right - (dp(32) if dark else dp(48)), row - dp(9), dp(18), dp(18))
        self._knob.paint(theme.on_accent if dark else (1.0, 1.0, 1.0, 1.0))
        self._switch_label.paint(soft)
        self._switch_label.show("Incognito")
        label_left = self.right - dp(58) - self._switch_label.width
        self._switch_label.left(label_left, row)
        self._switch = (label_left - dp(6), row - dp(24), self.right - label_left + dp(6), dp(48))
        self._name.paint(ink)
        self._name.show(self._partner, room=label_left - self.x - dp(70))
        self._name.left(self.x + dp(58), row)

        line = self.y + dp(15)
        self._dot_colour.rgba = soft if dark else theme.accent
        self._dot.pos, self._dot.size = (self.x + dp(16), line - dp(3.5)), (dp(7), dp(7))
        self._status.paint(soft)
        self._status.show(f"nothing is kept · {self.status}" if dark else self.status, room=self.width - dp(44))
        self._status.left(self.x + dp(30), line)

    def on_touch_down(self, touch: Any) -> bool:
        """The switch at the right."""
        if not self.collide_point(*touch.pos):
            return False
        if inside(self._switch, *touch.pos):
            self._toggle_incognito()
        return True
