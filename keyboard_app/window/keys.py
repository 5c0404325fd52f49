"""The keys on the screen: drawn once a layer, repainted where pressed, each finger followed on its own."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from typing import Any

from kivy.clock import Clock
from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.input import KeyInput, Shift
from keyboard_app.window.layouts import Action, Key, PlacedKey, key_at, place
from keyboard_app.window.painting import RoundedBox, Text
from keyboard_app.window.presses import Presses
from keyboard_app.window.theme import Theme, faded

REPEAT_AFTER_S = 0.40
REPEAT_EVERY_S = 0.055
FLASH_S = 0.10
"""How long a hardware key lights up its picture."""


class _KeyFace:
    """The picture of one key."""

    def __init__(self, group: InstructionGroup, placed: PlacedKey, theme: Theme) -> None:
        self.placed = placed
        self._theme = theme
        key = placed.key
        radius = dp(7)
        self._edge = RoundedBox(group, theme.key_edge, radius)
        self._box = RoundedBox(group, theme.key, radius)
        self._edge.place(placed.x, placed.y - dp(1), placed.width, placed.height)
        self._box.place(placed.x, placed.y, placed.width, placed.height)
        self._text = Text(group, theme.key_ink, self.text_size(key))
        self.show("", pressed=False, lit=False)

    def text_size(self, key: Key) -> float:
        """Font size in pixels that suits the key and its height."""
        room = self.placed.height
        if key.action is Action.TYPE:
            return float(min(sp(23), room * 0.52))
        if key.action in (Action.LAYER, Action.SPACE):
            return float(min(sp(14), room * 0.36))
        return float(min(sp(21), room * 0.50))

    def show(self, label: str, pressed: bool, lit: bool) -> None:
        """Paint the key; ``lit``: a shift that is on."""
        theme, action = self._theme, self.placed.key.action
        if action is Action.SEND:
            fill, ink = theme.accent, theme.on_accent
            if pressed:
                fill = faded(theme.accent, 0.75)
        elif action in (Action.TYPE, Action.SPACE):
            fill = theme.key_pressed if pressed else theme.key
            ink = theme.ink_soft if action is Action.SPACE else theme.key_ink
        else:
            fill = theme.function_key_pressed if pressed else theme.key if lit else theme.function_key
            ink = theme.accent if lit else theme.key_ink
        self._box.paint(fill)
        self._text.paint(ink)
        self._text.show(label, room=self.placed.width)
        self._text.centre(self.placed.x + self.placed.width / 2, self.placed.y + self.placed.height / 2)


class _Preview:
    """The larger picture of a pressed key, above the finger."""

    def __init__(self, parent: InstructionGroup, theme: Theme) -> None:
        self._parent = parent
        self._group = InstructionGroup()
        self._edge = RoundedBox(self._group, faded(theme.key_edge, 0.9), dp(10))
        self._box = RoundedBox(self._group, theme.preview, dp(10))
        self._text = Text(self._group, theme.key_ink, sp(31))

    def show(self, label: str, placed: PlacedKey, keyboard_width: float) -> None:
        width, height = max(placed.width * 1.25, dp(44)), max(placed.height * 1.15, dp(50))
        x = min(max(placed.x + placed.width / 2 - width / 2, dp(2)), keyboard_width - width - dp(2))
        y = placed.y + placed.height + dp(4)
        self._edge.place(x - dp(1), y - dp(1.5), width + dp(2), height + dp(2.5))
        self._box.place(x, y, width, height)
        self._text.show(label, size_px=min(sp(31), height * 0.6))
        self._text.centre(x + width / 2, y + height / 2)
        if self._group not in self._parent.children:
            self._parent.add(self._group)

    def hide(self) -> None:
        self._parent.remove(self._group)


class KeyboardView(Widget):
    """Draws the keys of a :class:`KeyInput` and feeds touches to it.

    Everything is drawn in the widget's own coordinates moved to ``pos``; a change of layer swaps one group of
    instructions, a press repaints one key.
    """

    def __init__(self, keys: KeyInput, theme: Theme, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys = keys
        self._theme = theme
        self._presses = Presses(self._fire, keys.released)
        self._placed: list[PlacedKey] = []
        self._faces: list[_KeyFace] = []
        self._built: dict[str, tuple[InstructionGroup, list[_KeyFace], list[PlacedKey]]] = {}
        self._previews: dict[Any, _Preview] = {}
        self._spare_previews: list[_Preview] = []
        self._flashing: set[Key] = set()
        self._repeat: Any = None
        with self.canvas:
            Color(*theme.tray)
            self._tray = Rectangle()
        self._layer_group = InstructionGroup()
        self.canvas.add(self._layer_group)
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

    def refresh(self) -> None:
        """Draw the layer and the labels as they are now."""
        if not self._placed and (self.width < 2 or self.height < 2):
            return
        if self._keys.layer not in self._built:
            self._build_layer(self._keys.layer)
        group, self._faces, self._placed = self._built[self._keys.layer]
        if group not in self._layer_group.children:
            self._layer_group.clear()
            self._layer_group.add(group)
        for face in self._faces:
            self._paint_face(face)

    def flash(self, character: str) -> None:
        """Light up the key of a character that came from a hardware keyboard."""
        for key in (face.placed.key for face in self._faces):
            if key.text and character in (key.text, key.shifted):
                self._flashing.add(key)
                self._paint(key)
                Clock.schedule_once(lambda _dt, key=key: self._end_flash(key), FLASH_S)

    def release_all(self) -> None:
        """Forget all fingers, without firing."""
        self._presses.cancel()
        self._stop_repeat()
        for touch in list(self._previews):
            self._hide_preview(touch)
        self.refresh()

    # Drawing

    def _rebuild(self, *_: object) -> None:
        self._tray.pos, self._tray.size = self.pos, self.size
        self._built.clear()
        self._layer_group.clear()
        self.refresh()

    def _build_layer(self, layer: str) -> None:
        rows = self._keys.layout.layers[layer]
        row_gap = dp(9) if self.height / len(rows) > dp(46) else dp(7)
        flat = place(rows, self.width, self.height, gap=dp(6), row_gap=row_gap, margin=dp(5))
        placed = [PlacedKey(p.key, p.x + self.x, p.y + self.y, p.width, p.height) for p in flat]
        group = InstructionGroup()
        faces = [_KeyFace(group, p, self._theme) for p in placed]
        self._built[layer] = (group, faces, placed)

    def _paint(self, key: Key) -> None:
        for face in self._faces:
            if face.placed.key == key:
                self._paint_face(face)

    def _paint_face(self, face: _KeyFace) -> None:
        key = face.placed.key
        pressed = key in self._presses.held or key in self._flashing
        lit = key.action is Action.SHIFT and self._keys.shift is not Shift.OFF
        face.show(self._keys.label(key), pressed, lit)

    def _end_flash(self, key: Key) -> None:
        self._flashing.discard(key)
        self._paint(key)

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
        for other in list(self._previews):
            self._hide_preview(other)
        # A layer key changes the keys under the finger: remember the face it was pressed on.
        touch.ud[self] = placed
        self._presses.down(touch.uid, placed.key)
        self._show_preview(touch, placed)
        if placed.key.action is Action.BACKSPACE:
            self._start_repeat()
        self.refresh()
        return True

    def on_touch_move(self, touch: Any) -> bool:
        """Follow a finger that slides."""
        if touch.grab_current is not self:
            return False
        x, y = touch.pos
        slack = dp(28)
        off = x < self.x or x > self.right or y < self.y - slack or y > self.top + slack
        placed = None if off else key_at(self._placed, x, y)
        before = touch.ud.get(self)
        if placed is before:
            return True
        self._presses.move(touch.uid, placed.key if placed else None)
        touch.ud[self] = placed
        self._hide_preview(touch.uid)
        if placed is not None and placed.key in self._presses.held:
            self._show_preview(touch, placed)
        for key in {p.key for p in (before, placed) if p is not None}:
            self._paint(key)
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Release: the key fires if it has not yet."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        self._hide_preview(touch.uid)
        self._presses.up(touch.uid)
        if not any(key.action is Action.BACKSPACE for key in self._presses.held):
            self._stop_repeat()
        self.refresh()
        return True

    def _fire(self, key: Key) -> None:
        self._keys.fire(key)

    def _show_preview(self, touch: Any, placed: PlacedKey) -> None:
        if placed.key.action is not Action.TYPE:
            return
        preview = self._spare_previews.pop() if self._spare_previews else _Preview(self._overlay, self._theme)
        self._previews[touch.uid] = preview
        preview.show(self._keys.label(placed.key), placed, self.right)

    def _hide_preview(self, touch: Any) -> None:
        preview = self._previews.pop(touch, None)
        if preview is not None:
            preview.hide()
            self._spare_previews.append(preview)

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
