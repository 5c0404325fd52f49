"""The header: with whom the person chats, what the device is doing, the incognito switch and the way to the menu."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kivy.graphics import Color, InstructionGroup, Rectangle, SmoothEllipse, SmoothLine
from kivy.metrics import dp, sp

from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, RoundedBox, Text
from keyboard_app.window.pressable import NO_BOX, Pressable
from keyboard_app.window.theme import Theme, faded

Act = Callable[[], object]


class Header(Pressable):
    """Two rows: partner, incognito switch and menu above, the device's own line below.

    Args:
        theme: colours.
        partner: with whom the person chats.
        toggle_incognito: switches incognito.
        open_menu, open_chats, open_status: what a tap on the menu, the partner and the device's line leads to.
    """

    def __init__(
        self,
        theme: Theme,
        partner: str,
        toggle_incognito: Act,
        open_menu: Act = lambda: None,
        open_chats: Act = lambda: None,
        open_status: Act = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._acts = {
            "chats": open_chats,
            "incognito": toggle_incognito,
            "menu": open_menu,
            "device status": open_status,
        }
        self.boxes = dict.fromkeys(self._acts, NO_BOX)
        self._incognito = False
        self._unread = 0
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
        self._leads = Text(group, theme.ink_soft, sp(17))
        self._leads.show("›")
        self._switch_label = Text(group, theme.ink_soft, sp(13))
        self._track = RoundedBox(group, theme.switch_off, dp(11))
        self._knob = RoundedBox(group, (1.0, 1.0, 1.0, 1.0), dp(9))
        self._ink = Color(*theme.ink)
        group.add(self._ink)
        self._chevron = SmoothLine(width=dp(1.2), cap="round", joint="round")
        self._bars = [SmoothLine(width=dp(1.1), cap="round") for _ in range(3)]
        for line in (self._chevron, *self._bars):
            group.add(line)
        self._badge = RoundedBox(group, theme.query, dp(9))
        self._badge_text = Text(group, theme.on_query, sp(11), bold=True)
        self._touched = RoundedBox(group, faded(theme.ink, 0.0), dp(12))
        self.canvas.add(group)
        self.bind(pos=self.draw, size=self.draw)

    @property
    def switch_box(self) -> Box:
        """Where a touch switches incognito, in window pixels."""
        return self.boxes["incognito"]

    def box(self, name: str) -> Box:
        """Where a touch on ``chats``, ``incognito``, ``menu`` or ``device status`` acts, in window pixels."""
        return self.boxes[name]

    def targets(self) -> list[Target]:
        """What can be reached without touching, in reading order."""
        return [Target(name, self.boxes[name], act) for name, act in self._acts.items()]

    def act(self, name: str) -> None:
        """Do what a tap on ``name`` does."""
        self._acts[name]()

    def show_partner(self, name: str, unread: int) -> None:
        """Show with whom the person chats, and how many lines wait in other chats."""
        self._partner, self._unread = name, unread
        self._initial.show(name[:1].upper())
        self.draw()

    def show(self, status: str, incognito: bool) -> None:
        """Show the device's line and the state of the switch."""
        if (status, incognito) == (self.status, self._incognito):
            return
        self.status, self._incognito = status, incognito
        self.draw()

    def draw(self, *_: object) -> None:
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

        row, x = self.top - dp(28), self.x
        self._ink.rgba = ink
        self._chevron.points = [x + dp(20), row + dp(7), x + dp(13), row, x + dp(20), row - dp(7)]
        self._avatar.pos, self._avatar.size = (x + dp(32), row - dp(18)), (dp(36), dp(36))
        self._initial.centre(x + dp(50), row)
        shown = bool(self._unread)
        self._badge.place(x + dp(56), row + dp(4), dp(18) * shown, dp(18) * shown)
        self._badge_text.show(str(self._unread) if shown else "")
        self._badge_text.centre(x + dp(65), row + dp(13))

        menu = self.right - dp(46)
        for number, bar in enumerate(self._bars):
            y = row + dp(6) * (number - 1)
            bar.points = [menu + dp(15), y, menu + dp(33), y]
        track = menu - dp(40)
        self._track.place(track, row - dp(11), dp(38), dp(22))
        self._track.paint(theme.accent if dark else theme.switch_off)
        self._knob.place(track + (dp(18) if dark else dp(2)), row - dp(9), dp(18), dp(18))
        self._knob.paint(theme.on_accent if dark else (1.0, 1.0, 1.0, 1.0))
        self._switch_label.paint(soft)
        self._switch_label.show("Incognito")
        label_left = track - dp(8) - self._switch_label.width
        self._switch_label.left(label_left, row)
        self._name.paint(ink)
        self._name.show(self._partner, room=label_left - x - dp(84))
        self._name.left(x + dp(76), row)
        self.boxes = {
            "chats": (x, row - dp(26), label_left - dp(8) - x, dp(52)),
            "incognito": (label_left - dp(6), row - dp(24), menu - label_left + dp(6), dp(48)),
            "menu": (menu, row - dp(26), self.right - menu, dp(52)),
            "device status": (x, self.y, self.width, dp(32)),
        }
        pressed = self.boxes.get(self.pressed or "", NO_BOX)
        self._touched.place(*pressed)
        self._touched.paint(faded(ink, 0.08 if self.pressed else 0.0))

        line = self.y + dp(15)
        self._dot_colour.rgba = soft if dark else theme.accent
        self._dot.pos, self._dot.size = (self.x + dp(16), line - dp(3.5)), (dp(7), dp(7))
        self._status.paint(soft)
        self._status.show(f"nothing is kept · {self.status}" if dark else self.status, room=self.width - dp(58))
        self._status.left(self.x + dp(30), line)
        self._leads.paint(soft)
        self._leads.centre(self.x + dp(30) + self._status.width + dp(10), line + dp(1))
