"""Pictures of keys: one texture for a whole layer at rest, single keys drawn over it while pressed, and what pops up.

A layer is some two hundred drawing instructions, most of them always the same. They are drawn once into a texture;
from then on a frame costs one rectangle, plus the keys that are pressed.
"""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kivy.graphics import ClearBuffers, ClearColor, Color, Fbo, InstructionGroup, Rectangle, Translate
from kivy.metrics import dp, sp

from keyboard_app.window.layouts import Action, Key, PlacedKey
from keyboard_app.window.painting import Box, RoundedBox, Text
from keyboard_app.window.theme import Theme, faded


class KeyFace:
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
        rows = max(key.label.count("\n") + 1, 1)
        self._texts = [Text(group, theme.key_ink, self.text_size(key) / (1.0 if rows == 1 else 1.15))]
        self._texts += [Text(group, theme.key_ink, self.text_size(key) / 1.15) for _ in range(rows - 1)]
        self._hint = Text(group, theme.ink_soft, min(sp(11), placed.height * 0.27)) if key.hint else None

    def text_size(self, key: Key) -> float:
        """Font size in pixels that suits the key and its height."""
        room = self.placed.height
        if key.action is Action.TYPE:
            return float(min(sp(23), room * 0.52))
        if len(key.label) == 1:
            return float(min(sp(21), room * 0.50))
        return float(min(sp(14), room * 0.36))

    def show(self, label: str, pressed: bool, lit: bool) -> None:
        """Paint the key; ``lit``: a shift that is on, or the layer that is shown."""
        theme, placed = self._theme, self.placed
        action = placed.key.action
        if action is Action.SEND:
            fill, ink = theme.accent, theme.on_accent
            if pressed:
                fill = theme.accent_pressed
        elif action in (Action.TYPE, Action.SPACE):
            fill = theme.key_pressed if pressed else theme.key
            ink = theme.ink_soft if action is Action.SPACE else theme.key_ink
        else:
            fill = theme.function_key_pressed if pressed else theme.key if lit else theme.function_key
            ink = theme.accent if lit else theme.key_ink
        self._box.paint(fill)
        middle_x, middle_y = placed.x + placed.width / 2, placed.y + placed.height / 2
        lines = label.split("\n")
        for number, text in enumerate(self._texts):
            line = lines[number] if number < len(lines) else ""
            text.paint(ink)
            text.show(line, room=placed.width)
            step = text.size_px * 1.0
            text.centre(middle_x, middle_y + step * ((len(lines) - 1) / 2 - number))
        if self._hint is not None:
            self._hint.show(placed.key.hint)
            self._hint.centre(placed.x + placed.width - dp(7), placed.y + placed.height - dp(8))


class LayerPicture:
    """A layer at rest, drawn once into a texture."""

    def __init__(
        self,
        box: Box,
        placed: Sequence[PlacedKey],
        theme: Theme,
        label: Callable[[Key], str],
        lit: Callable[[Key], bool],
    ) -> None:
        x, y, width, height = box
        self._fbo = Fbo(size=(round(width), round(height)), with_depthbuffer=False)
        with self._fbo:
            ClearColor(*theme.tray)
            ClearBuffers()
            Translate(-x, -y, 0)
        group = InstructionGroup()
        self._fbo.add(group)
        for key in placed:
            face = KeyFace(group, key, theme)
            face.show(label(key.key), pressed=False, lit=lit(key.key))
        self._fbo.draw()
        self._fbo.remove(group)  # the texture stays as it is: it is never cleared again
        self.texture = self._fbo.texture


class Preview:
    """The larger picture of a pressed key, above the finger.

    Args:
        parent: takes the drawing.
        theme: colours.
        changed: told every rectangle in which something changes.
    """

    def __init__(self, parent: InstructionGroup, theme: Theme, changed: Callable[[Box], object]) -> None:
        self._parent = parent
        self._changed = changed
        self._outline: Box = (0, 0, 0, 0)
        self._group = InstructionGroup()
        self._edge = RoundedBox(self._group, faded(theme.key_edge, 0.9), dp(10))
        self._box = RoundedBox(self._group, theme.preview, dp(10))
        self._text = Text(self._group, theme.key_ink, sp(31))

    def show(self, label: str, placed: PlacedKey, keyboard_width: float) -> None:
        """Show ``label`` over ``placed``."""
        width, height = max(placed.width * 1.25, dp(44)), max(placed.height * 1.15, dp(50))
        x = min(max(placed.x + placed.width / 2 - width / 2, dp(2)), keyboard_width - width - dp(2))
        y = placed.y + placed.height + dp(4)
        self._outline = (x - dp(1), y - dp(1.5), width + dp(2), height + dp(2.5))
        self._edge.place(*self._outline)
        self._changed(self._outline)
        self._box.place(x, y, width, height)
        self._text.show(label, size_px=min(sp(31), height * 0.6))
        self._text.centre(x + width / 2, y + height / 2)
        if self._group not in self._parent.children:
            self._parent.add(self._group)

    def hide(self) -> None:
        """Take it away."""
        self._parent.remove(self._group)
        self._changed(self._outline)


class AlternatesRow:
    """The alternates of a key in a row above it; the finger slides to the one it wants.

    Args:
        parent: takes the drawing.
        theme: colours.
        keys: what there is to choose from.
        placed: the key that is held.
        box: where the row may lie.
        changed: told every rectangle in which something changes.
    """

    def __init__(
        self,
        parent: InstructionGroup,
        theme: Theme,
        keys: Sequence[Key],
        placed: PlacedKey,
        box: Box,
        changed: Callable[[Box], object],
    ) -> None:
        self.keys = tuple(keys)
        self._parent = parent
        self._changed = changed
        self._theme = theme
        self._group = InstructionGroup()
        self._chosen = 0
        cell, height = max(min(placed.width, dp(44)), dp(34)), max(placed.height, dp(46))
        self.columns = max(1, min(len(keys), int((box[2] - dp(12)) // cell)))
        rows = -(-len(keys) // self.columns)
        width = cell * self.columns + dp(8)
        left = min(max(placed.x + placed.width / 2 - cell / 2 - dp(4), box[0] + dp(2)), box[0] + box[2] - width - dp(2))
        bottom = placed.y + placed.height + dp(4)
        edge = RoundedBox(self._group, theme.key_edge, dp(10))
        self._outline = (left - dp(1), bottom - dp(1.5), width + dp(2), height * rows + dp(2.5))
        edge.place(*self._outline)
        back = RoundedBox(self._group, theme.preview, dp(10))
        back.place(left, bottom, width, height * rows)
        self._boxes: list[Box] = []
        self._cells: list[tuple[RoundedBox, Text]] = []
        for number, key in enumerate(keys):
            row, column = divmod(number, self.columns)
            cell_box = (left + dp(4) + cell * column, bottom + height * row + dp(3), cell, height - dp(6))
            lit = RoundedBox(self._group, theme.preview, dp(8))
            lit.place(*cell_box)
            text = Text(self._group, theme.key_ink, sp(22))
            text.show(key.label)
            text.centre(cell_box[0] + cell / 2, cell_box[1] + cell_box[3] / 2)
            self._boxes.append(cell_box)
            self._cells.append((lit, text))
        self._paint()
        parent.add(self._group)

    @property
    def chosen(self) -> Key:
        """The alternate under the finger."""
        return self.keys[self._chosen]

    def box(self, number: int) -> Box:
        """Rectangle of an alternate, in window pixels."""
        return self._boxes[number]

    def follow(self, x: float, y: float) -> None:
        """Choose the alternate nearest to the finger."""

        def distance(number: int) -> float:
            left, bottom, width, height = self._boxes[number]
            return max(left - x, 0.0, x - left - width) + max(bottom - y, 0.0, y - bottom - height)

        nearest = min(range(len(self._boxes)), key=distance)
        if nearest != self._chosen:
            self._chosen = nearest
            self._paint()

    def hide(self) -> None:
        """Take it away."""
        self._parent.remove(self._group)
        self._changed(self._outline)

    def _paint(self) -> None:
        self._changed(self._outline)
        for number, (lit, text) in enumerate(self._cells):
            chosen = number == self._chosen
            lit.paint(self._theme.accent if chosen else self._theme.preview)
            text.paint(self._theme.on_accent if chosen else self._theme.key_ink)


class PressedKeys:
    """Keys drawn over the layer's picture while they are pressed; each is drawn for the first time when needed.

    Args:
        parent: takes the drawing.
        theme: colours.
        changed: told every rectangle in which something changes.
    """

    def __init__(self, parent: InstructionGroup, theme: Theme, changed: Callable[[Box], object]) -> None:
        self._parent = parent
        self._changed = changed
        self._theme = theme
        self._known: dict[PlacedKey, tuple[InstructionGroup, KeyFace]] = {}
        self._shown: dict[PlacedKey, str] = {}

    def show(self, pressed: dict[PlacedKey, str], lit: Callable[[Key], bool]) -> None:
        """Show exactly these keys with these labels as pressed."""
        if pressed == self._shown:
            return
        for placed in self._shown.keys() - pressed.keys():
            self._parent.remove(self._known[placed][0])
            self._changed(placed.box)
        for placed, label in pressed.items():
            if placed not in self._known:
                group = InstructionGroup()
                self._known[placed] = (group, KeyFace(group, placed, self._theme))
            group, face = self._known[placed]
            face.show(label, pressed=True, lit=lit(placed.key))
            self._changed(placed.box)
            if placed not in self._shown:
                self._parent.add(group)
        self._shown = dict(pressed)

    def forget(self) -> None:
        """The keys lie elsewhere now."""
        self._parent.clear()
        self._known.clear()
        self._shown.clear()


def whole_picture(parent: InstructionGroup) -> Any:
    """A rectangle that shows a texture as it is."""
    parent.add(Color(1, 1, 1, 1))
    rectangle = Rectangle()
    parent.add(rectangle)
    return rectangle
