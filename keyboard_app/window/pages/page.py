"""A page over the keyboard: a title, a way back, and rows that scroll; by touch, by wheel and by keyboard."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kivy.clock import Clock
from kivy.graphics import (
    Color,
    InstructionGroup,
    PopMatrix,
    PushMatrix,
    Rectangle,
    ScissorPop,
    ScissorPush,
    SmoothLine,
    Translate,
)
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.focus import FocusOrder, Target
from keyboard_app.window.pages.rows import Row, RowPainter
from keyboard_app.window.painting import Box, RoundedBox, Text, inside
from keyboard_app.window.theme import Theme, faded

WIDEST_COLUMN_DP = 640
TITLE_HEIGHT_DP = 60
REFRESH_EVERY_S = 0.4
BACK = "back"
_DRAG_DP = 8
_GLIDE_STOPS = 20.0
"""Pixels a second below which a page that was flung stands still."""


class Page(Widget):
    """Made by subclasses that say their :attr:`title` and their :meth:`rows`.

    Args:
        theme: colours.
        back: leads to where the person came from.
    """

    title = ""

    def __init__(self, theme: Theme, back: Callable[[], object], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theme = theme
        self.back = back
        self._shown: tuple[Row, ...] | None = None
        self._placed: tuple[float, ...] = ()
        self._targets: list[Target] = []
        """In the coordinates of the content, before scrolling."""
        self._scrolled = 0.0
        self._content_height = 0.0
        self._speed = 0.0
        self._glide: Any = None
        self._timer: Any = None
        self._pressed: Target | None = None
        self.focus = FocusOrder(self.targets)

        with self.canvas:
            self._clip = ScissorPush(x=0, y=0, width=1, height=1)
            Color(*theme.page)
            self._ground = Rectangle()
            PushMatrix()
            self._shift = Translate()
        self._content = InstructionGroup()
        self.canvas.add(self._content)
        with self.canvas:
            PopMatrix()
            Color(*theme.bar)
            self._bar = Rectangle()
            Color(*theme.bar_line)
            self._bar_line = Rectangle()
            Color(*theme.ink)
            self._chevron = SmoothLine(width=dp(1.3), cap="round", joint="round")
        top = InstructionGroup()
        self._title = Text(top, theme.ink, sp(19), bold=True)
        self._thumb = RoundedBox(top, faded(theme.ink_soft, 0.35), dp(2))
        self._touched = RoundedBox(top, faded(theme.ink, 0.0), dp(12))
        self._ring_colour = Color(*faded(theme.accent, 0.0))
        self._ring = SmoothLine(width=dp(1.4))
        top.add(self._ring_colour)
        top.add(self._ring)
        self.canvas.add(top)
        with self.canvas:
            ScissorPop()
        self.bind(pos=self._place, size=self._place)

    # What subclasses say

    def rows(self) -> tuple[Row, ...]:
        """What stands on the page now; asked again twice a second and after every action."""
        return ()

    # Life

    def start(self) -> None:
        """Follow what changes, until :meth:`stop`."""
        self._timer = Clock.schedule_interval(lambda _dt: self.refresh(), REFRESH_EVERY_S)

    def stop(self) -> None:
        """Undo :meth:`start`."""
        for timer in (self._timer, self._glide):
            if timer is not None:
                timer.cancel()
        self._timer = self._glide = None

    def refresh(self) -> None:
        """Show what stands on the page now; nothing is drawn when that is what is shown."""
        rows = self.rows()
        placed = (*self.pos, *self.size)
        if self.width < 2 or (rows == self._shown and placed == self._placed):
            # Actions are bound to the rows as they were made last, whether or not they look the same.
            return
        self._shown, self._placed = rows, placed
        self._draw(rows)

    def target(self, name: str) -> Target:
        """What has this name, where it stands now.

        Raises:
            KeyError: nothing has.
        """
        for target in self.targets():
            if target.name == name:
                return target
        raise KeyError(name)

    def targets(self) -> list[Target]:
        """Everything that can be acted upon, where it stands in the window now."""
        back = Target(BACK, self._back_box, lambda: self.back())
        moved = [
            Target(t.name, (t.box[0], t.box[1] + self._scrolled, t.box[2], t.box[3]), t.act, t.hold)
            for t in self._targets
        ]
        return [back, *moved]

    @property
    def words(self) -> str:
        """Everything that stands on the page, for whoever cannot see it."""
        return "\n".join(_words(row) for row in self._shown or ())

    def reveal(self, name: str) -> None:
        """Scroll until the target of this name is seen."""
        box = self.target(name).box
        low, high = self.y + dp(12), self.top - dp(TITLE_HEIGHT_DP) - dp(12)
        if box[1] < low:
            self._scroll_to(self._scrolled + low - box[1])
        elif box[1] + box[3] > high:
            self._scroll_to(self._scrolled - (box[1] + box[3] - high))

    # Drawing

    @property
    def _back_box(self) -> Box:
        height = dp(TITLE_HEIGHT_DP)
        return self._column()[0] - dp(8), self.top - height, dp(52), height

    def _column(self) -> tuple[float, float]:
        """x and width of the rows."""
        width = min(self.width - dp(24), dp(WIDEST_COLUMN_DP))
        return round(self.x + (self.width - width) / 2), width

    def _place(self, *_: object) -> None:
        self._clip.x, self._clip.y = round(self.x), round(self.y)
        self._clip.width, self._clip.height = round(self.width), round(self.height)
        self._ground.pos, self._ground.size = self.pos, self.size
        height = dp(TITLE_HEIGHT_DP)
        self._bar.pos, self._bar.size = (self.x, self.top - height), (self.width, height)
        self._bar_line.pos, self._bar_line.size = (self.x, self.top - height), (self.width, 1)
        x, width = self._column()
        middle = self.top - height / 2
        self._chevron.points = [x + dp(17), middle + dp(8), x + dp(9), middle, x + dp(17), middle - dp(8)]
        self._title.show(self.title, room=width - dp(60))
        self._title.left(x + dp(40), middle)
        self.refresh()

    def _draw(self, rows: tuple[Row, ...]) -> None:
        self._content.clear()
        x, width = self._column()
        top = self.top - dp(TITLE_HEIGHT_DP) - dp(12)
        painter = RowPainter(self._content, self.theme, x, width, top)
        for row in rows:
            painter.draw(row)
        self._targets = painter.targets
        self._content_height = top - painter.y + dp(36)
        self._scroll_to(self._scrolled)

    def _scroll_to(self, offset: float) -> None:
        room = self.height - dp(TITLE_HEIGHT_DP)
        most = max(self._content_height - room, 0.0)
        self._scrolled = min(max(offset, 0.0), most)
        self._shift.y = round(self._scrolled)
        if most > 0:
            length = max(room * room / self._content_height, dp(24))
            y = self.y + (room - length) * (1 - self._scrolled / most)
            self._thumb.place(self.right - dp(7), y, dp(4), length)
        else:
            self._thumb.place(0, 0, 0, 0)
        self._mark()

    def _mark(self) -> None:
        """Show what is under the finger and what has the focus."""
        pressed = self._pressed
        self._touched.place(*(pressed.box if pressed is not None else (0, 0, 0, 0)))
        self._touched.paint(faded(self.theme.ink, 0.08 if pressed is not None else 0.0))
        focused = self.focus.focused
        self._ring_colour.a = 1.0 if focused is not None else 0.0
        if focused is not None:
            x, y, width, height = focused.box
            self._ring.rounded_rectangle = (x + 2, y + 2, width - 4, height - 4, dp(12))

    # Touch

    def on_touch_down(self, touch: Any) -> bool:
        """Take every touch on the page: what lies under it is out of reach."""
        if not self.collide_point(*touch.pos):
            return False
        if getattr(touch, "is_mouse_scrolling", False):
            self._scroll_to(self._scrolled + (dp(48) if touch.button == "scrollup" else -dp(48)))
            return True
        touch.grab(self)
        self._end_glide()
        self.focus.clear()
        self._pressed = self._at(*touch.pos)
        touch.ud[self] = [touch.y, touch.time_start, False]
        self._mark()
        return True

    def on_touch_move(self, touch: Any) -> bool:
        """A finger that moves scrolls."""
        if touch.grab_current is not self:
            return False
        held = touch.ud[self]
        if not held[2] and abs(touch.y - touch.oy) + abs(touch.x - touch.ox) > dp(_DRAG_DP):
            held[2], self._pressed = True, None
        if held[2]:
            moved, elapsed = touch.y - held[0], max(touch.time_update - held[1], 1e-3)
            self._speed = 0.6 * self._speed + 0.4 * moved / elapsed
            held[0], held[1] = touch.y, touch.time_update
            self._scroll_to(self._scrolled + moved)
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Act where the finger came down, unless it scrolled."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        pressed, self._pressed = self._pressed, None
        self._mark()
        if touch.ud[self][2]:
            self._glide = Clock.schedule_interval(self._glide_on, 0)
        elif pressed is not None and inside(pressed.box, *touch.pos):
            self.act(pressed)
        return True

    def act(self, target: Target) -> None:
        """Do what a tap on it does."""
        target.act()
        if self.parent is not None:
            self.refresh()
            self._mark()

    def _at(self, x: float, y: float) -> Target | None:
        under_bar = y < self.top - dp(TITLE_HEIGHT_DP)
        for target in self.targets():
            if inside(target.box, x, y) and (under_bar or target.name == BACK):
                return target
        return None

    def _glide_on(self, dt: float) -> None:
        self._scroll_to(self._scrolled + self._speed * dt)
        self._speed *= max(0.0, 1 - 4 * dt)
        if abs(self._speed) < _GLIDE_STOPS:
            self._end_glide()

    def _end_glide(self) -> None:
        self._speed = 0.0
        if self._glide is not None:
            self._glide.cancel()
            self._glide = None

    # Keyboard

    def key(self, name: str, shift: bool = False) -> bool:
        """A key of a hardware keyboard, by Kivy's name for it; returns whether it meant something."""
        moves = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
        if name == "escape":
            self.back()
        elif name == "tab":
            self._focus_on(lambda: self.focus.step(-1 if shift else 1))
        elif name in moves:
            self._focus_on(lambda: self.focus.move(*moves[name]))
        elif name in ("pageup", "pagedown"):
            step = (self.height - dp(TITLE_HEIGHT_DP)) * 0.85
            self._scroll_to(self._scrolled + (step if name == "pagedown" else -step))
        elif name in ("enter", "numpadenter", "spacebar") and self.focus.focused is not None:
            self.act(self.focus.focused)
        elif name == "delete" and self.focus.focused is not None and self.focus.focused.hold is not None:
            self.focus.focused.hold()
            self.refresh()
            self._mark()
        else:
            return False
        return True

    def _focus_on(self, go: Callable[[], None]) -> None:
        go()
        if self.focus.focused is not None and self.focus.focused.name != BACK:
            self.reveal(self.focus.focused.name)
        self._mark()


def _words(row: Any) -> str:
    """What a row says."""
    if hasattr(row, "rows"):
        return "\n".join(_words(inner) for inner in row.rows)
    if hasattr(row, "buttons"):
        return "\n".join(_words(inner) for inner in row.buttons)
    parts = [getattr(row, part, "") for part in ("title", "text", "label", "detail", "value")]
    return " · ".join(part for part in parts if part)
