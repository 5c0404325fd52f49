"""The chat: own lines on the right, the partner's on the left, the newest at the bottom."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kivy.clock import Clock
from kivy.graphics import InstructionGroup
from kivy.metrics import dp, sp
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.scrollview import ScrollView
from kivy.uix.widget import Widget

from keyboard_app.window.composer import wrap
from keyboard_app.window.painting import RoundedBox, Text
from keyboard_app.window.theme import Theme, faded

LONG_PRESS_S = 0.45
"""A line of the chat held for this long is copied."""
MOST_LINES = 200
"""Older lines leave the screen."""
_ROW_SP = 21
_WIDEST = 0.76
"""A bubble's largest share of the chat's width."""


class Bubble(Widget):
    """One line of the chat, wrapped to the width it is given."""

    def __init__(self, text: str, own: bool, theme: Theme, **kwargs: Any) -> None:
        super().__init__(size_hint_y=None, **kwargs)
        self.text = text
        self.own = own
        self._rows: list[Text] = []
        self._wrapped_to = 0
        big, small = dp(18), dp(5)
        # Corners: upper left, upper right, lower right, lower left; the one nearest to the speaker is small.
        radius = [big, big, small, big] if own else [big, big, big, small]
        self._ink = theme.on_bubble_own if own else theme.on_bubble_partner
        box = InstructionGroup()
        self._box = RoundedBox(box, theme.bubble_own if own else theme.bubble_partner, radius)
        self.canvas.add(box)
        self._words = InstructionGroup()
        self.canvas.add(self._words)
        self.bind(pos=self._place, width=self._wrap)

    def _wrap(self, *_: object) -> None:
        room = round(self.width * _WIDEST - dp(28))
        if room <= 0 or room == self._wrapped_to:
            return
        self._wrapped_to = room
        self._words.clear()
        self._rows = []
        for row in wrap(self.text, room, round(sp(16))):
            self._rows.append(Text(self._words, self._ink, sp(16)))
            self._rows[-1].show(row.rstrip())
        self.height = len(self._rows) * sp(_ROW_SP) + dp(16)
        self._place()

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies on the bubble, not beside it."""
        return bool(self._box.holds(x, y))

    def _place(self, *_: object) -> None:
        width = max((row.width for row in self._rows), default=0) + dp(28)
        x = self.right - width if self.own else self.x
        self._box.place(x, self.y, width, self.height)
        for number, row in enumerate(self._rows):
            row.left(x + dp(14), self.top - dp(8) - (number + 0.5) * sp(_ROW_SP))


class Conversation(ScrollView):
    """Scrolls; stays at the newest line."""

    def __init__(self, theme: Theme, copy: Callable[[str], None] = lambda _text: None, **kwargs: Any) -> None:
        super().__init__(
            do_scroll_x=False,
            bar_width=dp(3),
            bar_color=faded(theme.ink_soft, 0.35),
            bar_inactive_color=(0, 0, 0, 0),
            scroll_type=["bars", "content"],
            **kwargs,
        )
        # Kivy clips a scroll view by drawing its outline into a stencil, twice a frame, which is dear without a card.
        # What lies above and below the chat is opaque and drawn later: nothing has to be clipped.
        self.canvas.before.clear()
        self.canvas.after.clear()
        self._theme = theme
        self._copy = copy
        self._holding: Any = None
        self._list = BoxLayout(orientation="vertical", size_hint_y=None, spacing=dp(5), padding=(dp(12), dp(12)))
        self._list.bind(minimum_height=self._grow)
        self._top_space = Widget(size_hint_y=None, height=0)
        self._list.add_widget(self._top_space)
        self._waiting: Bubble | None = None
        self.add_widget(self._list)
        self.bind(height=self._grow)

    @property
    def lines(self) -> list[tuple[str, bool]]:
        """What is shown, oldest first: (text, own)."""
        shown = [child for child in reversed(self._list.children) if isinstance(child, Bubble)]
        return [(bubble.text, bubble.own) for bubble in shown if bubble is not self._waiting]

    def add_line(self, text: str, own: bool) -> None:
        """Add a line at the bottom and scroll to it."""
        self.show_waiting(False)
        previous = self._list.children[0] if self._list.children else None
        if isinstance(previous, Bubble) and previous.own != own:
            self._list.add_widget(Widget(size_hint_y=None, height=dp(5)))
        # Wrapped before it is laid out: a height that changes during a layout is not always followed.
        bubble = Bubble(text, own, self._theme)
        bubble.width = max(self.width - dp(24), dp(1))
        self._list.add_widget(bubble)
        while len(self._list.children) > MOST_LINES:
            oldest = self._list.children[-2]
            self._list.remove_widget(oldest)
        self._to_newest()

    def show_lines(self, lines: Sequence[tuple[str, bool]]) -> None:
        """Show another chat: (text, own), oldest first."""
        self._waiting = None
        self._list.clear_widgets()
        self._list.add_widget(self._top_space)
        for text, own in lines:
            self.add_line(text, own)

    def show_waiting(self, waiting: bool) -> None:
        """Show that the partner is about to answer, or no longer."""
        if waiting and self._waiting is None:
            self._waiting = Bubble("•  •  •", False, self._theme)
            self._waiting.opacity = 0.6
            self._list.add_widget(self._waiting)
            self._to_newest()
        elif not waiting and self._waiting is not None:
            self._list.remove_widget(self._waiting)
            self._waiting = None

    def on_touch_down(self, touch: Any) -> bool:
        """Scroll; a line held for :data:`LONG_PRESS_S` is copied."""
        self._release()
        if self.collide_point(*touch.pos):
            at = self.to_local(*touch.pos)
            found = [child for child in self._list.children if isinstance(child, Bubble) and child.holds(*at)]
            if found and found[0] is not self._waiting:
                self._holding = Clock.schedule_once(lambda _dt: self._copy(found[0].text), LONG_PRESS_S)
        return bool(super().on_touch_down(touch))

    def on_touch_move(self, touch: Any) -> bool:
        """A finger that scrolls copies nothing."""
        if abs(touch.x - touch.ox) + abs(touch.y - touch.oy) > dp(8):
            self._release()
        return bool(super().on_touch_move(touch))

    def on_touch_up(self, touch: Any) -> bool:
        """A finger that lifts early copies nothing."""
        self._release()
        return bool(super().on_touch_up(touch))

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    def _grow(self, *_: object) -> None:
        """A short chat stands at the bottom, next to the line being typed, not at the top."""
        natural = self._list.minimum_height - self._top_space.height
        self._top_space.height = max(0.0, self.height - natural)
        self._list.height = natural + self._top_space.height

    def _to_newest(self) -> None:
        def scroll(_dt: float) -> None:
            self.scroll_y = 0

        scroll(0)
        Clock.schedule_once(scroll, 0)
