"""The keys on the screen: one picture a layer, pressed keys drawn over it, each finger followed on its own."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from functools import partial
from math import copysign
from typing import Any

from kivy.clock import Clock
from kivy.graphics import InstructionGroup
from kivy.metrics import dp
from kivy.uix.widget import Widget

from keyboard_app.window.focus import Target
from keyboard_app.window.input import KeyInput, Shift
from keyboard_app.window.key_pictures import AlternatesRow, LayerPicture, PressedKeys, Preview, whole_picture
from keyboard_app.window.layouts import Action, Key, PlacedKey, key_at, place
from keyboard_app.window.painting import Box
from keyboard_app.window.presses import Presses
from keyboard_app.window.theme import Theme

REPEAT_AFTER_S = 0.40
REPEAT_EVERY_S = 0.055
LONG_PRESS_S = 0.30
"""A key held for this long shows its alternates."""
MOST_PICTURES = 12
"""Layers that are kept drawn; the oldest makes room."""
FLASH_S = 0.10
"""How long a hardware key lights up its picture."""
DRAG_STEP_DP = 9
"""The cursor moves by a character for every so many pixels that a finger drags the space bar."""
DRAG_BEGINS_DP = 14


class KeyboardView(Widget):
    """Draws the keys of a :class:`KeyInput` and feeds touches to it."""

    def __init__(self, keys: KeyInput, theme: Theme, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys = keys
        self._theme = theme
        self._presses = Presses(self._fire, keys.released)
        self._placed: list[PlacedKey] = []
        self._placed_of: dict[tuple[str, ...], list[PlacedKey]] = {}
        self._pictures: dict[tuple[tuple[str, ...], Shift], LayerPicture] = {}
        self._previews: dict[Any, Preview] = {}
        self._spare_previews: list[Preview] = []
        self._alternates: dict[Any, AlternatesRow] = {}
        self._long_presses: dict[Any, Any] = {}
        self._dragged: dict[Any, float] = {}
        self._flashing: set[Key] = set()
        self._repeat: Any = None
        self._changes: set[Box] = set()
        at_rest = InstructionGroup()
        self._picture = whole_picture(at_rest)
        self.canvas.add(at_rest)
        pressed = InstructionGroup()
        self.canvas.add(pressed)
        self._pressed = PressedKeys(pressed, theme, self._changes.add)
        self._overlay = InstructionGroup()
        self.canvas.after.add(self._overlay)
        self.bind(pos=self._rebuild, size=self._rebuild)

    # What others ask

    def centre_of(self, label: str) -> tuple[float, float]:
        """Where to touch the key that types ``label`` or is labelled so, in window pixels.

        Raises:
            KeyError: no such key is shown.
        """
        for placed in self._placed:
            if label in (placed.key.text, self._keys.label(placed.key), placed.key.action.value):
                return placed.x + placed.width / 2, placed.y + placed.height / 2
        raise KeyError(label)

    @property
    def previews_shown(self) -> int:
        """Number of key previews on the screen."""
        return len(self._previews)

    @property
    def alternates_shown(self) -> AlternatesRow | None:
        """The alternates on the screen, of the finger that came last."""
        return next(reversed(self._alternates.values()), None)

    def targets(self) -> list[Target]:
        """The keys, for whoever walks through the window without touching it."""
        return [
            Target(
                f"key {self._keys.label(placed.key)}",
                (placed.x, placed.y, placed.width, placed.height),
                partial(self._tap, placed.key),
            )
            for placed in self._placed
        ]

    def take_changes(self) -> set[Box]:
        """Rectangles that changed since this was asked last: a press changes one key and its preview."""
        changes = set(self._changes)
        self._changes.clear()
        return changes

    def refresh(self) -> None:
        """Draw the layer and the labels as they are now."""
        if self.width < 2 or self.height < 2:
            return
        keys = self._keys
        where = keys.page
        if where not in self._placed_of:
            self._placed_of[where] = self._place_layer()
        self._placed = self._placed_of[where]
        what = (where, keys.shift)
        if what not in self._pictures:
            while len(self._pictures) >= MOST_PICTURES:
                del self._pictures[next(iter(self._pictures))]
            box = (self.x, self.y, self.width, self.height)
            self._pictures[what] = LayerPicture(box, self._placed, self._theme, keys.label, self._is_lit)
        texture = self._pictures[what].texture
        if self._picture.texture is not texture:
            self._picture.texture = texture
            self._changes.add((self.x, self.y, self.width, self.height))
        self._paint()

    def flash(self, character: str) -> None:
        """Light up the key of a character that came from a hardware keyboard."""
        for key in (placed.key for placed in self._placed):
            if key.text and character in (key.text, key.shifted):
                self._flashing.add(key)
                self._paint()
                Clock.schedule_once(lambda _dt, key=key: self._end_flash(key), FLASH_S)

    def release_all(self) -> None:
        """Forget all fingers, without firing."""
        self._presses.cancel()
        self._stop_repeat()
        for touch in {*self._previews, *self._alternates, *self._long_presses}:
            self._end_touch(touch)
        self._dragged.clear()
        self.refresh()

    # Drawing

    def _rebuild(self, *_: object) -> None:
        self._picture.pos, self._picture.size = self.pos, self.size
        self._pictures.clear()
        self._placed_of.clear()
        self._pressed.forget()
        self.refresh()

    def _place_layer(self) -> list[PlacedKey]:
        rows = self._keys.rows
        row_gap = dp(9) if self.height / len(rows) > dp(46) else dp(7)
        gap = dp(6 if self.width > dp(350) else 4.5)
        flat = place(rows, self.width, self.height, gap, row_gap, margin=dp(5))
        return [PlacedKey(p.key, p.x + self.x, p.y + self.y, p.width, p.height) for p in flat]

    def _paint(self) -> None:
        """Show as pressed what is under a finger."""
        held = {*self._presses.held, *self._flashing}
        pressed = [placed for placed in self._placed if placed.key in held] if held else []
        self._pressed.show({placed: self._keys.label(placed.key) for placed in pressed}, self._is_lit)

    def _is_lit(self, key: Key) -> bool:
        if key.action is Action.SHIFT:
            return self._keys.shift is not Shift.OFF
        return key.action is Action.LAYER and key.target == self._keys.layer

    def _end_flash(self, key: Key) -> None:
        self._flashing.discard(key)
        self._paint()

    # Fingers

    def on_touch_down(self, touch: Any) -> bool:
        """Press the key under the finger."""
        if not self.collide_point(*touch.pos):
            return False
        if "button" in touch.profile and touch.button != "left":
            return True
        placed = key_at(self._placed, *touch.pos)
        if placed is None:
            return True
        touch.grab(self)
        for other in {*self._previews, *self._alternates, *self._long_presses}:
            self._end_touch(other)
        # A layer key changes the keys under the finger: remember the face it was pressed on.
        touch.ud[self] = placed
        self._presses.down(touch.uid, placed.key)
        self._show_preview(touch, placed)
        if placed.key.action is Action.BACKSPACE:
            self._start_repeat()
        elif placed.key.alternates or placed.key.action is Action.LANGUAGE:
            self._await_long_press(touch.uid, placed)
        self._paint()
        return True

    def on_touch_move(self, touch: Any) -> bool:
        """Follow a finger that slides."""
        if touch.grab_current is not self:
            return False
        before = touch.ud.get(self)
        if touch.uid in self._alternates:
            self._follow_alternates(touch)
            return True
        if before is not None and before.key.action is Action.SPACE and self._drag_cursor(touch):
            return True
        x, y = touch.pos
        slack = dp(28)
        off = x < self.x or x > self.right or y < self.y - slack or y > self.top + slack
        placed = None if off else key_at(self._placed, x, y)
        if placed is before:
            return True
        self._presses.move(touch.uid, placed.key if placed else None)
        touch.ud[self] = placed
        self._end_touch(touch.uid)
        if placed is not None and placed.key in self._presses.held:
            self._show_preview(touch, placed)
            if placed.key.alternates:
                self._await_long_press(touch.uid, placed)
        self._paint()
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Release: the key fires if it has not yet."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._end_touch(touch.uid)
        if self._dragged.pop(touch.uid, None) is not None:
            self._presses.forget(touch.uid)
        self._presses.up(touch.uid)
        if not any(key.action is Action.BACKSPACE for key in self._presses.held):
            self._stop_repeat()
        self._paint()
        return True

    def _tap(self, key: Key) -> None:
        self._keys.fire(key)
        self._keys.released(key)

    def _fire(self, key: Key) -> None:
        self._keys.fire(key)

    def _end_touch(self, touch: Any) -> None:
        """Take away what belongs to a finger: preview, alternates, the wait for them."""
        preview = self._previews.pop(touch, None)
        if preview is not None:
            preview.hide()
            self._spare_previews.append(preview)
        row = self._alternates.pop(touch, None)
        if row is not None:
            row.hide()
        waiting = self._long_presses.pop(touch, None)
        if waiting is not None:
            waiting.cancel()

    def _show_preview(self, touch: Any, placed: PlacedKey) -> None:
        if placed.key.action is not Action.TYPE:
            return
        preview = (
            self._spare_previews.pop()
            if self._spare_previews
            else Preview(self._overlay, self._theme, self._changes.add)
        )
        self._previews[touch.uid] = preview
        preview.show(self._keys.label(placed.key), placed, self.right)

    # Long press

    def _await_long_press(self, touch: Any, placed: PlacedKey) -> None:
        self._long_presses[touch] = Clock.schedule_once(lambda _dt: self._show_alternates(touch, placed), LONG_PRESS_S)

    def _show_alternates(self, touch: Any, placed: PlacedKey) -> None:
        keys = self._keys.alternates(placed.key)
        if not keys or placed.key not in self._presses.held:
            return
        self._end_touch(touch)
        box = (self.x, self.y, self.width, self.height)
        row = self._alternates[touch] = AlternatesRow(self._overlay, self._theme, keys, placed, box, self._changes.add)
        self._presses.replace(touch, row.chosen)
        self._paint()

    def _follow_alternates(self, touch: Any) -> None:
        row = self._alternates[touch.uid]
        row.follow(*touch.pos)
        self._presses.replace(touch.uid, row.chosen)

    # The space bar moves the cursor

    def _drag_cursor(self, touch: Any) -> bool:
        if touch.uid not in self._dragged:
            if abs(touch.x - touch.ox) < dp(DRAG_BEGINS_DP):
                return False
            self._dragged[touch.uid] = touch.ox
            self._presses.hold(touch.uid)
        step = dp(DRAG_STEP_DP)
        way = (touch.x - self._dragged[touch.uid]) / step
        by = int(way + copysign(1e-6, way))  # touches come as shares of the window: a whole step may lack a little
        if by:
            self._dragged[touch.uid] += by * step
            self._keys.move_cursor(by)
        return True

    # Backspace repeats

    def _start_repeat(self) -> None:
        self._stop_repeat()
        self._repeat = Clock.schedule_once(self._begin_repeating, REPEAT_AFTER_S)

    def _begin_repeating(self, _dt: float) -> None:
        self._repeat = Clock.schedule_interval(self._repeat_backspace, REPEAT_EVERY_S)

    def _repeat_backspace(self, _dt: float) -> None:
        for key in self._presses.held:
            if key.action is Action.BACKSPACE:
                self._keys.fire(key)
                return
        self._stop_repeat()

    def _stop_repeat(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
