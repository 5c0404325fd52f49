"""The search card: what a tapped query opens, over the keyboard. Nothing goes to the network without a second tap."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp

from keyboard_app.window.composer import wrap
from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, RoundedBox, SearchGlyph, Text, text_width
from keyboard_app.window.pressable import Pressable
from keyboard_app.window.search_results import Related, Results
from keyboard_app.window.theme import Theme, faded

_OPEN, _SHARE, _CLOSE = "open", "share", "close"
_LABELS = {_OPEN: "Open in browser", _SHARE: "Share in chat"}


class SearchCardView(Pressable):
    """Shows one query, what the device itself knows about it, and where it would go.

    Args:
        theme: colours.
        open_browser, close, share: what the buttons do.
        choose: called with another search that was tapped.
    """

    def __init__(
        self,
        theme: Theme,
        open_browser: Callable[[], None],
        close: Callable[[], None],
        share: Callable[[], None] = lambda: None,
        choose: Callable[[Related], None] = lambda _related: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._acts: dict[str, Callable[[], None]] = {_OPEN: open_browser, _SHARE: share, _CLOSE: close}
        self._choose = choose
        self._query, self._category, self._host = "", "", ""
        self._results = Results()
        with self.canvas:
            Color(*theme.tray)
            self._back = Rectangle()
        self._drawing = InstructionGroup()
        self.canvas.add(self._drawing)
        self.bind(pos=self.draw, size=self.draw)

    def show(self, query: str, category: str, search_url: str, results: Results | None = None) -> None:
        """Show a query; ``search_url`` is where the second tap would send it, ``results`` what is known here."""
        self._query, self._category = query, category.replace("_", " ").replace(".", " · ")
        self._host = urlsplit(search_url).hostname or search_url
        self._results = results or Results()
        self.draw()

    @property
    def query(self) -> str:
        """The query it shows."""
        return self._query

    @property
    def results(self) -> Results:
        """What it shows about the query."""
        return self._results

    def button_box(self, name: str) -> Box:
        """Rectangle of ``open``, ``share``, ``close`` or a related search that is shown, in window pixels."""
        return self.boxes[name]

    def targets(self) -> list[Target]:
        """What can be reached without touching."""
        return [Target(f"card: {name}", box, partial(self.act, name)) for name, box in self.boxes.items()]

    def act(self, name: str) -> None:
        """Do what the button says, or turn to another search."""
        if name in self._acts:
            self._acts[name]()
            return
        for related in self._results.related:
            if related.query == name:
                self._choose(related)
                return

    def draw(self, *_: object) -> None:
        if self.width < dp(200):
            return
        theme, group = self._theme, self._drawing
        group.clear()
        self.boxes = {}
        self._back.pos, self._back.size = self.pos, self.size
        margin = dp(8)
        x, y, width, height = self.x + margin, self.y + margin, self.width - 2 * margin, self.height - 2 * margin
        RoundedBox(group, theme.query_line, dp(18)).place(x, y, width, height)
        RoundedBox(group, theme.field, dp(17)).place(x + 1, y + 1, width - 2, height - 2)
        inner, room = x + dp(16), width - dp(32)
        top = y + height - dp(14)
        self._draw_tag(inner, top, room)
        top -= dp(26) + dp(10)
        top = self._draw_text(self._query, sp(20), theme.ink, inner, top, room, most=2, bold=True)
        floor = self._draw_foot(inner, y + dp(14), room)
        if self._results.facts and top - floor > sp(20):
            known = f"Known here: {', '.join(self._results.facts)}"
            top = self._draw_text(known, sp(14), theme.ink_soft, inner, top - dp(2), room, most=1)
        self._draw_related(inner, top - dp(6), room, floor)

    def _draw_tag(self, x: float, top: float, room: float) -> None:
        theme, group = self._theme, self._drawing
        box = RoundedBox(group, theme.query, dp(13))
        SearchGlyph(group, theme.on_query, dp(14)).centre(x + dp(18), top - dp(13))
        text = Text(group, theme.on_query, sp(13))
        text.show(self._category or "search", room=room - dp(96))
        text.left(x + dp(32), top - dp(13))
        box.place(x, top - dp(26), text.width + dp(44), dp(26))
        self.boxes[_CLOSE] = (x + room - dp(34), top - dp(36), dp(46), dp(46))
        self._light(_CLOSE)
        cross = Text(group, theme.ink_soft, sp(17))
        cross.show("✕")
        cross.centre(x + room - dp(11), top - dp(13))

    def _draw_foot(self, x: float, y: float, room: float) -> float:
        """Buttons, and what they mean; returns where the space above them begins."""
        theme, group, height = self._theme, self._drawing, dp(44)
        share_width = max(room * 0.4, dp(110))
        for name, left, width, fill, ink in (
            (_OPEN, x, room - share_width - dp(10), theme.accent, theme.on_accent),
            (_SHARE, x + room - share_width, share_width, theme.function_key, theme.key_ink),
        ):
            self.boxes[name] = (left, y, width, height)
            RoundedBox(group, faded(fill, 0.75) if self.pressed == name else fill, dp(22)).place(left, y, width, height)
            text = Text(group, ink, sp(15.5), bold=name == _OPEN)
            text.show(_LABELS[name], room=width - dp(12))
            text.centre(left + width / 2, y + height / 2)
        note = f"Nothing is sent yet. “Open” asks {self._host}."
        top: float = y + height + dp(8) + sp(19)
        self._draw_text(note, sp(13.5), theme.ink_soft, x, top, room, most=1)
        return float(top + dp(4))

    def _draw_related(self, x: float, top: float, room: float, floor: float) -> None:
        """Other searches as chips, in as many lines as there is room for."""
        theme, group, height, gap = self._theme, self._drawing, dp(34), dp(8)
        left, y, size = x, top - height, round(sp(14.5))
        for related in self._results.related:
            width = min(text_width(related.query, size) + dp(28), room)
            if left > x and left + width > x + room:
                left, y = x, y - height - gap
            if y < floor:
                return
            name = related.query
            self.boxes[name] = (left, y, width, height)
            RoundedBox(group, theme.query_pressed if self.pressed == name else theme.query, dp(17)).place(
                left, y, width, height
            )
            text = Text(group, theme.on_query, size)
            text.show(name, room=width - dp(24))
            text.centre(left + width / 2, y + height / 2)
            left += width + gap

    def _draw_text(
        self,
        text: str,
        size: float,
        colour: tuple[float, float, float, float],
        x: float,
        top: float,
        room: float,
        most: int,
        bold: bool = False,
    ) -> float:
        """Draw downwards from ``top``; what does not fit ends in an ellipsis. Returns where the next may start."""
        rows = wrap(text, room, round(size))
        if len(rows) > most:
            rows = [*rows[: most - 1], "".join(rows[most - 1 :])]
        for row in rows:
            line = Text(self._drawing, colour, size, bold)
            line.show(row.rstrip(), room=room)
            line.left(x, top - size * 0.65)
            top -= size * 1.3
        return top

    def _light(self, name: str) -> None:
        if self.pressed == name:
            RoundedBox(self._drawing, faded(self._theme.ink, 0.1), dp(18)).place(*self.boxes[name])
