"""Drawing primitives: text as cached textures, rounded boxes, the search glyph.

Fonts: Kivy's bundled Roboto for Latin text, its DejaVuSans for everything Roboto lacks. Kivy falls back to no other
font by itself, so each piece of text gets the one font that has it all.
"""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin
from typing import Any

from kivy.core.text import Label as CoreLabel
from kivy.graphics import Color, InstructionGroup, Rectangle, SmoothLine, SmoothRoundedRectangle

from keyboard_app.window.theme import Colour, Theme

LATIN_FONT = "Roboto"
WIDE_FONT = "DejaVuSans"

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


def font_for(text: str) -> str:
    """The bundled font that has every character of ``text``: Roboto up to Cyrillic and for common punctuation."""
    latin = all(ord(c) < 0x0530 or 0x2010 <= ord(c) <= 0x203A or c in "€™" for c in text)
    return LATIN_FONT if latin else WIDE_FONT


@lru_cache(maxsize=1024)
def text_texture(text: str, size_px: int, bold: bool = False) -> Any:
    """White text on nothing, to be tinted by the Color before it; ``size_px`` is the font size in pixels."""
    label = CoreLabel(text=text or " ", font_size=size_px, font_name=font_for(text), bold=bold)
    label.refresh()
    return label.texture


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: int, bold: bool = False) -> float:
    """Width of ``text`` in pixels, advance widths included."""
    if not text:
        return 0.0
    label = CoreLabel(text=text, font_size=size_px, font_name=font_for(text), bold=bold)
    return float(label.get_extents(text)[0])


def shortened(text: str, size_px: int, room: float, bold: bool = False) -> str:
    """``text``, or as much of its beginning as fits into ``room`` pixels with an ellipsis."""
    if text_width(text, size_px, bold) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", size_px, bold) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


class RoundedBox:
    """A filled rounded rectangle whose colour and place can change without building it anew."""

    def __init__(self, group: InstructionGroup, colour: Colour, radius: float | list[float]) -> None:
        self._colour = Color(*colour)
        self._radius = radius if isinstance(radius, list) else [radius]
        self._shape = SmoothRoundedRectangle(pos=(0, 0), size=(0, 0), radius=self._radius)
        group.add(self._colour)
        group.add(self._shape)

    def place(self, x: float, y: float, width: float, height: float) -> None:
        """Move to a rectangle in pixels."""
        self._shape.pos = (x, y)
        self._shape.size = (max(width, 0.0), max(height, 0.0))

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return inside((*self._shape.pos, *self._shape.size), x, y)

    def paint(self, colour: Colour) -> None:
        """Change the colour."""
        if tuple(self._colour.rgba) != colour:
            self._colour.rgba = colour


class Text:
    """One line of text whose words, colour and place can change without building it anew."""

    def __init__(self, group: InstructionGroup, colour: Colour, size_px: float, bold: bool = False) -> None:
        self._colour = Color(*colour)
        self._rectangle = Rectangle(pos=(0, 0), size=(0, 0))
        self._size_px = round(size_px)
        self._bold = bold
        self._shown: tuple[str, int, bool] | None = None
        self.width = 0.0
        self.height = 0.0
        group.add(self._colour)
        group.add(self._rectangle)

    @property
    def size_px(self) -> int:
        """Font size in pixels."""
        return self._size_px

    def show(self, text: str, size_px: float | None = None, bold: bool | None = None, room: float = 1e9) -> None:
        """Change the words; they are shortened to ``room`` pixels."""
        self._size_px = self._size_px if size_px is None else round(size_px)
        self._bold = self._bold if bold is None else bold
        if text and room < 1e9:
            text = shortened(text, self._size_px, room, self._bold)
        if self._shown == (text, self._size_px, self._bold):
            return
        self._shown = (text, self._size_px, self._bold)
        if not text:
            self._rectangle.size = (0, 0)
            self.width = self.height = 0.0
            return
        texture = text_texture(text, self._size_px, self._bold)
        self._rectangle.texture = texture
        self._rectangle.size = texture.size
        self.width, self.height = float(texture.width), float(texture.height)

    def paint(self, colour: Colour) -> None:
        """Change the colour."""
        if tuple(self._colour.rgba) != colour:
            self._colour.rgba = colour

    def centre(self, x: float, y: float) -> None:
        """Put the middle of the text at a point, on whole pixels so that it stays crisp."""
        self._rectangle.pos = (round(x - self.width / 2), round(y - self.height / 2))

    def left(self, x: float, y: float) -> None:
        """Put the left edge at x and the middle of the height at y."""
        self._rectangle.pos = (round(x), round(y - self.height / 2))


class FocusRing:
    """A ring around what has the focus, over everything else."""

    def __init__(self, parent: InstructionGroup, theme: Theme) -> None:
        self._parent = parent
        self._group = InstructionGroup()
        self._outer = SmoothLine(width=3.2)
        self._inner = SmoothLine(width=1.6)
        for instruction in (Color(*theme.focus_edge), self._outer, Color(*theme.focus), self._inner):
            self._group.add(instruction)
        self.box: Box | None = None

    def show(self, box: Box | None) -> None:
        """Draw it around a rectangle, or not at all."""
        if box == self.box:
            return
        if self.box is None:
            self._parent.add(self._group)
        if box is None:
            self._parent.remove(self._group)
        else:
            x, y, width, height = box
            ring = (x + 1.5, y + 1.5, width - 3, height - 3, 9)
            self._outer.rounded_rectangle = ring
            self._inner.rounded_rectangle = ring
        self.box = box


class SearchGlyph:
    """A magnifying glass, drawn: no bundled font has one."""

    def __init__(self, group: InstructionGroup, colour: Colour, size: float) -> None:
        self._size = size
        self._colour = Color(*colour)
        self._lens = SmoothLine(width=max(1.1, size / 11))
        self._handle = SmoothLine(width=max(1.3, size / 8), cap="round")
        for instruction in (self._colour, self._lens, self._handle):
            group.add(instruction)

    def paint(self, colour: Colour) -> None:
        """Change the colour."""
        self._colour.rgba = colour

    def centre(self, x: float, y: float) -> None:
        """Put the middle of the glyph at a point."""
        radius = self._size * 0.32
        cx, cy = x - self._size * 0.1, y + self._size * 0.1
        self._lens.circle = (cx, cy, radius)
        reach = radius * 0.7071
        self._handle.points = [cx + reach, cy - reach, x + self._size * 0.42, y - self._size * 0.42]


class LockGlyph:
    """A padlock, drawn: closed for a password field, its bow raised for an ordinary one."""

    def __init__(self, group: InstructionGroup, colour: Colour, size: float) -> None:
        self._size = size
        self._colour = Color(*colour)
        self._bow = SmoothLine(width=max(1.1, size / 14))
        group.add(self._colour)
        group.add(self._bow)
        self._body = RoundedBox(group, colour, size * 0.12)

    def show(self, x: float, y: float, closed: bool, colour: Colour) -> None:
        """Draw with the middle at a point."""
        self._colour.rgba = colour
        self._body.paint(colour)
        size = self._size
        width, height, radius = size * 0.74, size * 0.5, size * 0.22
        top = y - size * 0.42 + height
        self._body.place(x - width / 2, y - size * 0.42, width, height)
        lift = size * 0.14 if closed else size * 0.26
        arc = [(radius * cos(pi * step / 8), radius * sin(pi * step / 8)) for step in range(9)]
        points = [(x + radius, top if closed else top + size * 0.1)]
        points += [(x + dx, top + lift + dy) for dx, dy in arc]
        points += [(x - radius, top)]
        self._bow.points = [coordinate for point in points for coordinate in point]


def inside(box: Box, x: float, y: float) -> bool:
    """True when the point lies in the box."""
    return box[0] <= x < box[0] + box[2] and box[1] <= y < box[1] + box[3]
