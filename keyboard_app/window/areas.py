"""Where the parts of the screen lie, one above the other, and the ground that is painted behind them."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kivy.graphics import Color, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.painting import Box
from keyboard_app.window.theme import Theme

WIDEST_COLUMN_DP = 760
"""On a desktop the keyboard does not grow wider than hands."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Rectangles in window pixels, all but the first in one column."""

    whole: Box
    header: Box
    conversation: Box
    lane: Box
    """Between the chat and the line being composed: the query's place, whether there is one or not."""
    composer: Box
    words: Box
    keyboard: Box

    @property
    def pill(self) -> Box:
        """The query, a little above the line being composed."""
        x, y, width, height = self.lane
        return x + dp(12), y + dp(3), width - dp(24), height

    @property
    def card(self) -> Box:
        """A card over words and keys."""
        x, y, width, height = self.keyboard
        return x, y, width, height + self.words[3]


def areas_of(whole: Box, composer_height: float) -> Areas:
    """Part a rectangle; the line being composed is as high as it wants to be, the chat takes what is left."""
    left, bottom, room, height = whole
    width = min(room, dp(WIDEST_COLUMN_DP))
    x = round(left + (room - width) / 2)
    keys = round(min(max(height * 0.335, dp(184)), dp(272)))
    words, header, lane = max(dp(46), sp(36)), max(dp(86), sp(70)), max(dp(46), sp(36))
    above_keys = bottom + keys
    above_words = above_keys + words
    above_line = above_words + composer_height
    above_lane = above_line + lane
    below_header = bottom + height - header
    return Areas(
        whole=whole,
        header=(x, below_header, width, header),
        conversation=(x, above_lane, width, max(below_header - above_lane, 0)),
        lane=(x, above_line, width, lane),
        composer=(x, above_words, width, composer_height),
        words=(x, above_keys, width, words),
        keyboard=(x, bottom, width, keys),
    )


def put(widget: Any, box: Box) -> None:
    """Lay a widget, or a rectangle of a canvas, into ``box``."""
    widget.pos, widget.size = box[:2], box[2:]


class Ground(Widget):
    """Lies over the chat, which is not clipped. Around the keys, not under them: without a graphics card every pixel
    that is painted twice costs time."""

    def __init__(self, theme: Theme, **kwargs: Any) -> None:
        super().__init__(size_hint=(None, None), **kwargs)
        with self.canvas:
            Color(*theme.page)
            self._lane = Rectangle()
            Color(*theme.tray)
            self._tray, self._beside_left, self._beside_right = Rectangle(), Rectangle(), Rectangle()

    def place(self, areas: Areas) -> None:
        """Follow the parts that lie on it, over the whole width."""
        left, bottom, width, _ = areas.whole
        x, _, column, keys = areas.keyboard
        line, lane = areas.lane[1], areas.lane[3]
        put(self, (left, bottom, width, line + lane - bottom))
        put(self._lane, (left, line, width, lane))
        put(self._tray, (left, bottom + keys, width, line - bottom - keys))
        put(self._beside_left, (left, bottom, x - left, keys))
        put(self._beside_right, (x + column, bottom, left + width - x - column, keys))
