"""The search card: what a tapped query opens, over the keyboard. Nothing goes to the network without a second tap."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.composer import wrap
from keyboard_app.window.painting import Box, RoundedBox, SearchGlyph, Text, inside
from keyboard_app.window.theme import Theme, faded

_ROWS = 3


class SearchCard(Widget):
    """Shows one query, its category and where it would go."""

    def __init__(
        self, theme: Theme, open_browser: Callable[[], None], close: Callable[[], None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._open_browser = open_browser
        self._close = close
        self._query, self._category, self._host = "", "", ""
        self._pressed: str | None = None
        self._buttons: dict[str, Box] = {}
        group = InstructionGroup()
        group.add(Color(*theme.tray))
        self._back = Rectangle()
        group.add(self._back)
        self._edge = RoundedBox(group, theme.query_line, dp(18))
        self._card = RoundedBox(group, theme.field, dp(17))
        self._tag = RoundedBox(group, theme.query, dp(13))
        self._glyph = SearchGlyph(group, theme.on_query, dp(14))
        self._tag_text = Text(group, theme.on_query, sp(13))
        self._rows = [Text(group, theme.ink, sp(22), bold=True) for _ in range(_ROWS)]
        self._note = [Text(group, theme.ink_soft, sp(14)) for _ in range(_ROWS)]
        self._button_boxes = {
            "open": RoundedBox(group, theme.accent, dp(22)),
            "close": RoundedBox(group, theme.function_key, dp(22)),
        }
        self._button_texts = {
            "open": Text(group, theme.on_accent, sp(16), bold=True),
            "close": Text(group, theme.key_ink, sp(16)),
        }
        self.canvas.add(group)
        self.bind(pos=self._draw, size=self._draw)

    def show(self, query: str, category: str, search_url: str) -> None:
        """Show a query; ``search_url`` is where the second tap would send it."""
        self._query, self._category = query, category.replace("_", " ").replace(".", " · ")
        self._host = urlsplit(search_url).hostname or search_url
        self._draw()

    def button_box(self, name: str) -> Box:
        """Rectangle of the button ``open`` or ``close``, in window pixels."""
        return self._buttons[name]

    def _draw(self, *_: object) -> None:
        if self.width < dp(200):
            return
        theme = self._theme
        self._back.pos, self._back.size = self.pos, self.size
        margin = dp(10)
        x, y, width, height = self.x + margin, self.y + margin, self.width - 2 * margin, self.height - 2 * margin
        self._edge.place(x, y, width, height)
        self._card.place(x + 1, y + 1, width - 2, height - 2)
        inner, room = x + dp(18), width - dp(36)
        top = y + height - dp(18)

        self._tag_text.show(self._category or "search", room=room - dp(44))
        self._tag.place(inner, top - dp(26), self._tag_text.width + dp(44), dp(26))
        self._glyph.centre(inner + dp(18), top - dp(13))
        self._tag_text.left(inner + dp(32), top - dp(13))
        top -= dp(26) + dp(12)

        top = self._draw_rows(self._rows, wrap(self._query, room, round(sp(22))), inner, top, sp(28), room)
        note = f"Nothing has been sent yet. “Open in browser” sends this query to {self._host}."
        self._draw_rows(self._note, wrap(note, room, round(sp(14))), inner, top - dp(6), sp(20), room)

        button_y, button_height = y + dp(16), dp(44)
        close_width = dp(104)
        self._buttons = {
            "open": (inner, button_y, room - close_width - dp(10), button_height),
            "close": (inner + room - close_width, button_y, close_width, button_height),
        }
        fills = {
            "open": faded(theme.accent, 0.75) if self._pressed == "open" else theme.accent,
            "close": theme.function_key_pressed if self._pressed == "close" else theme.function_key,
        }
        labels = {"open": "Open in browser", "close": "Close"}
        for name, box in self._buttons.items():
            self._button_boxes[name].place(*box)
            self._button_boxes[name].paint(fills[name])
            self._button_texts[name].show(labels[name], room=box[2] - dp(12))
            self._button_texts[name].centre(box[0] + box[2] / 2, box[1] + box[3] / 2)

    def _draw_rows(
        self, texts: list[Text], rows: list[str], x: float, top: float, row_height: float, room: float
    ) -> float:
        """Draw rows downwards from ``top``; what does not fit ends in an ellipsis. Returns where the next may start."""
        if len(rows) > len(texts):
            rows = [*rows[: len(texts) - 1], "".join(rows[len(texts) - 1 :])]
        for number, text in enumerate(texts):
            text.show(rows[number].rstrip() if number < len(rows) else "", room=room)
            text.left(x, top - row_height * (number + 0.5))
        return top - row_height * len(rows)

    def on_touch_down(self, touch: Any) -> bool:
        """Light up the button under the finger; the card swallows every touch on it."""
        if not self.collide_point(*touch.pos):
            return False
        for name, box in self._buttons.items():
            if inside(box, *touch.pos):
                touch.grab(self)
                self._pressed = touch.ud[self] = name
                self._draw()
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Act when the finger lifts on the button it came down on."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._pressed = None
        self._draw()
        name = touch.ud[self]
        if inside(self._buttons[name], *touch.pos):
            (self._open_browser if name == "open" else self._close)()
        return True
