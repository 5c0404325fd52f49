"""The suggestion strip: words directly above the keys, and a query in a pill of its own above the composed line.

Nothing under a finger moves while typing: there are always three places for words, the best in the middle, a word that
stays keeps its side, and the pill appears in a lane that is always kept free. Words are replaced in the same call that
handles the key, so the strip is never blank between keys. A tap takes, a long press asks what else to do.
"""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kivy.clock import Clock
from kivy.graphics import Color, InstructionGroup, Line
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window import menu
from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, RoundedBox, SearchGlyph, Text, inside, text_width
from keyboard_app.window.theme import Theme, faded

_PLACE_OF_RANK = (1, 0, 2)
"""Best word in the middle, second on the left, third on the right."""


def in_places(words: Sequence[str], before: Sequence[str] = ("", "", "")) -> tuple[str, str, str]:
    """The best three words, given best first, as shown from left to right; empty where there are fewer.

    The best always stands in the middle. Of the other two, one that stood on a side before stays there.
    """
    best, *others = [*words[:3], "", "", ""][:3]
    left, right = others
    if (left and left == before[2]) or (right and right == before[0]):
        left, right = right, left
    return left, best, right


class _LongPress:
    """Waits for a finger that stays."""

    def __init__(self) -> None:
        self._timer: Any = None

    def begin(self, act: Callable[[], object]) -> None:
        """Call ``act`` after :data:`menu.LONG_PRESS_S`."""
        self.end()
        self._timer = Clock.schedule_once(lambda _dt: act(), menu.LONG_PRESS_S)

    def end(self) -> None:
        """The finger lifted or slid away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class WordStrip(Widget):
    """Three words to tap.

    Args:
        theme: colours.
        choose: takes the word that was tapped.
        ask: called with a word that was held, and its rectangle.
    """

    def __init__(
        self,
        theme: Theme,
        choose: Callable[[str], None],
        ask: Callable[[str, Box], None] = lambda _word, _box: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._choose = choose
        self._ask = ask
        self._pressed: int | None = None
        self._long_press = _LongPress()
        self.words: tuple[str, str, str] = ("", "", "")
        self.quoted = ""
        group = InstructionGroup()
        self._boxes = [RoundedBox(group, faded(theme.key, 0.0), dp(8)) for _ in range(3)]
        self._line_colour = Color(*faded(theme.ink_soft, 0.35))
        group.add(self._line_colour)
        self._lines = [Line(width=1) for _ in range(2)]
        for line in self._lines:
            group.add(line)
        self._texts = [Text(group, theme.ink, sp(17), bold=place == 1) for place in range(3)]
        self._note_text = Text(group, theme.ink_soft, sp(14))
        self._note = ""
        self.canvas.add(group)
        self.bind(pos=self._place, size=self._place)

    def show(self, words: Sequence[str], note: str = "", quoted: str = "") -> None:
        """Show words, best first; or, where there are none by intent, a note that says why.

        ``quoted`` is the word that was typed itself: it is shown in quotation marks, to be kept as it is.
        """
        places = in_places(words, self.words)
        if (places, note, quoted) != (self.words, self._note, self.quoted):
            self.words, self._note, self.quoted = places, note, quoted
            self._draw()

    @property
    def note(self) -> str:
        """What stands there instead of words; empty while there are words."""
        return self._note

    def box(self, place: int) -> Box:
        """Rectangle of a place, 0 left, 1 middle, 2 right, in window pixels."""
        third = self.width / 3
        return self.x + place * third, self.y, third, self.height

    def targets(self) -> list[Target]:
        """What can be focused here, best word first."""
        return [
            Target(
                f"word {place}",
                self.box(place),
                partial(self._choose, self.words[place]),
                partial(self._ask, self.words[place], self.box(place)),
            )
            for place in _PLACE_OF_RANK
            if self.words[place]
        ]

    def _place(self, *_: object) -> None:
        for number, line in enumerate(self._lines):
            x = round(self.x + (number + 1) * self.width / 3) + 0.5
            line.points = [x, self.y + self.height * 0.26, x, self.y + self.height * 0.70]
        self._draw()

    def _draw(self) -> None:
        for place, (text, background) in enumerate(zip(self._texts, self._boxes, strict=True)):
            x, y, width, height = self.box(place)
            pressed = place == self._pressed
            background.place(*((x + dp(3), y + dp(3), width - dp(6), height - dp(6)) if pressed else (0, 0, 0, 0)))
            background.paint(self._theme.key_pressed if pressed else faded(self._theme.key, 0.0))
            word = self.words[place]
            text.show(f"“{word}”" if word and word == self.quoted else word, room=width - dp(14))
            text.centre(x + width / 2, y + height / 2 - dp(1))
        self._line_colour.rgba = faded(self._theme.ink_soft, 0.0 if self._note else 0.35)
        self._note_text.show(self._note, room=self.width - dp(24))
        self._note_text.centre(self.x + self.width / 2, self.y + self.height / 2 - dp(1))

    def on_touch_down(self, touch: Any) -> bool:
        """Light up the word under the finger."""
        if not self.collide_point(*touch.pos):
            return False
        place = min(int((touch.x - self.x) / self.width * 3), 2)
        word = self.words[place]
        if word:
            touch.grab(self)
            # The word that was touched is the word that is chosen, whatever the strip shows when the finger lifts.
            touch.ud[self] = word
            self._pressed = place
            self._long_press.begin(lambda: self._hold(touch, place))
            self._draw()
        return True

    def _hold(self, touch: Any, place: int) -> None:
        touch.ungrab(self)
        self._release()
        self._ask(touch.ud[self], self.box(place))

    def _release(self) -> None:
        self._long_press.end()
        self._pressed = None
        self._draw()

    def on_touch_up(self, touch: Any) -> bool:
        """Choose the word, if the finger is still on the strip."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._release()
        if self.collide_point(*touch.pos):
            self._choose(touch.ud[self])
        return True


class QueryPill(Widget):
    """At most one query: a magnifying glass, the query, and a cross to send it away.

    Args:
        theme: colours.
        tap: the query was tapped.
        dismiss: the cross was tapped.
        ask: called with the rectangle of a query that was held.
    """

    def __init__(
        self,
        theme: Theme,
        tap: Callable[[], None],
        dismiss: Callable[[], None],
        ask: Callable[[Box], None] = lambda _box: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._tap = tap
        self._dismiss = dismiss
        self._ask = ask
        self._long_press = _LongPress()
        self.query: str | None = None
        self._pressed = False
        self._pill: Box = (0, 0, 0, 0)
        self._cross: Box = (0, 0, 0, 0)
        self._group = InstructionGroup()
        radius = dp(18)
        self._edge = RoundedBox(self._group, theme.query_line, radius)
        self._fill = RoundedBox(self._group, theme.query, radius - 1)
        self._glyph = SearchGlyph(self._group, theme.on_query, dp(17))
        self._text = Text(self._group, theme.on_query, sp(15))
        self._sign = Text(self._group, faded(theme.on_query, 0.75), sp(15))
        self.bind(pos=self._draw, size=self._draw)

    def show(self, query: str | None) -> None:
        """Show a query, or none."""
        if query == self.query:
            return
        self.query = query
        if query is None:
            self.canvas.remove(self._group)
        elif self._group not in self.canvas.children:
            self.canvas.add(self._group)
        self._draw()

    @property
    def pill_box(self) -> Box:
        """Where a touch opens the query, in window pixels."""
        return self._pill

    @property
    def cross_box(self) -> Box:
        """Where a touch dismisses the query, in window pixels."""
        return self._cross

    def targets(self) -> list[Target]:
        """What can be focused here."""
        if self.query is None:
            return []
        return [
            Target("query", self._pill, self._tap, partial(self._ask, self._pill)),
            Target("dismiss query", self._cross, self._dismiss),
        ]

    def _draw(self, *_: object) -> None:
        if self.query is None:
            return
        height = max(dp(36), sp(30))
        y = self.y + (self.height - height) / 2
        lead, tail = dp(38), dp(40)
        room = self.width - lead - tail
        width = min(text_width(self.query, round(sp(15))), room) + lead + tail
        self._edge.place(self.x, y, width, height)
        self._fill.place(self.x + 1, y + 1, width - 2, height - 2)
        self._fill.paint(self._theme.query_pressed if self._pressed else self._theme.query)
        self._glyph.centre(self.x + dp(20), y + height / 2)
        self._text.show(self.query, room=room)
        self._text.left(self.x + lead, y + height / 2)
        self._sign.show("✕")
        self._sign.centre(self.x + width - dp(20), y + height / 2)
        self._pill = (self.x, self.y, width - tail, self.height)
        self._cross = (self.x + width - tail, self.y, tail, self.height)

    def on_touch_down(self, touch: Any) -> bool:
        """Take touches on the pill; the lane beside it belongs to the chat."""
        if self.query is None or not (inside(self._pill, *touch.pos) or inside(self._cross, *touch.pos)):
            return False
        touch.grab(self)
        touch.ud[self] = (self.query, inside(self._cross, *touch.pos))
        self._pressed = not touch.ud[self][1]
        if self._pressed:
            self._long_press.begin(lambda: self._hold(touch))
        self._draw()
        return True

    def _hold(self, touch: Any) -> None:
        touch.ungrab(self)
        self._pressed = False
        self._draw()
        if touch.ud[self][0] == self.query:
            self._ask(self._pill)

    def on_touch_up(self, touch: Any) -> bool:
        """Open or dismiss, when the finger lifts where it came down and the query is still the same."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._long_press.end()
        self._pressed = False
        self._draw()
        query, on_cross = touch.ud[self]
        if query == self.query and inside(self._cross if on_cross else self._pill, *touch.pos):
            (self._dismiss if on_cross else self._tap)()
        return True
