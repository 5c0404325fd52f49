"""Drawing primitives: text as cached textures, rounded boxes, the search glyph.

Fonts: Kivy's bundled Roboto for Latin text, its DejaVuSans for everything Roboto lacks. Kivy falls back to no other
font by itself, so each piece of text gets the one font that has it all. Emoji are pictures, see :mod:`.emoji`.
"""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin
from typing import Any

import numpy as np
from kivy.core.text import Label as CoreLabel
from kivy.graphics import BorderImage, Color, InstructionGroup, Rectangle, SmoothLine
from kivy.graphics.texture import Texture

from keyboard_app.window import emoji
from keyboard_app.window.theme import Colour, Theme

LATIN_FONT = "Roboto"
WIDE_FONT = "DejaVuSans"

_PICTURE_SIZE = 1.16
"""Side of an emoji's picture in font sizes."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


def font_for(text: str) -> str:
    """The bundled font that has every character of ``text``: Roboto up to Cyrillic and for common punctuation.

    Characters that have a picture count as spaces.
    """
    latin = all(ord(c) < 0x0530 or 0x2003 <= ord(c) <= 0x203A or c in "€™" for c in emoji.with_spaces(text))
    return LATIN_FONT if latin else WIDE_FONT


@lru_cache(maxsize=1024)
def text_texture(text: str, size_px: int, bold: bool = False) -> Any:
    """White text on nothing, to be tinted by the Color before it; ``size_px`` is the font size in pixels."""
    label = CoreLabel(text=emoji.with_spaces(text) or " ", font_size=size_px, font_name=font_for(text), bold=bold)
    label.refresh()
    return label.texture


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: int, bold: bool = False) -> float:
    """Width of ``text`` in pixels, advance widths included."""
    if not text:
        return 0.0
    text = emoji.with_spaces(text)
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


Radii = tuple[int, int, int, int]
"""Of the upper left, upper right, lower right and lower left corner, in pixels."""


@lru_cache(maxsize=128)
def rounded_texture(radii: Radii) -> Any:
    """White with round corners and smooth edges, to be stretched between its corners and tinted."""
    side = max(radii) * 2 + 2
    alpha = np.ones((side, side), np.float32)
    for corner, radius in enumerate(radii):
        # How far the middle of each pixel lies outside a quarter circle of this corner, in a square at the upper left.
        from_middle = radius - 0.5 - np.arange(radius, dtype=np.float32)
        outside = np.hypot(from_middle[:, None], from_middle[None, :]) - radius
        covered = np.clip(0.5 - outside, 0.0, 1.0)
        right, lower = corner in (1, 2), corner in (2, 3)
        rows = slice(side - radius, side) if lower else slice(0, radius)
        columns = slice(side - radius, side) if right else slice(0, radius)
        alpha[rows, columns] = covered[:: -1 if lower else 1, :: -1 if right else 1]
    pixels = np.full((side, side, 4), 255, np.uint8)
    pixels[..., 3] = np.round(alpha[::-1] * 255)  # textures begin with their lowest row
    texture = Texture.create(size=(side, side), colorfmt="rgba")
    texture.blit_buffer(pixels.tobytes(), colorfmt="rgba", bufferfmt="ubyte")
    texture.wrap = "clamp_to_edge"
    return texture


class RoundedBox:
    """A filled rounded rectangle whose colour and place can change without building it anew.

    It is a texture stretched between its corners: without a graphics card a quarter of the cost of drawing the outline.
    """

    def __init__(self, group: InstructionGroup, colour: Colour, radius: float | list[float]) -> None:
        self._colour = Color(*colour)
        self._radii = radius if isinstance(radius, list) else [radius] * 4
        self._shape = BorderImage(pos=(0, 0), size=(0, 0), border=(0, 0, 0, 0))
        self._texture: Any = None
        group.add(self._colour)
        group.add(self._shape)

    def place(self, x: float, y: float, width: float, height: float) -> None:
        """Move to a rectangle in pixels, whole ones so that it stays crisp."""
        left, bottom = round(x), round(y)
        width, height = max(round(x + width) - left, 0), max(round(y + height) - bottom, 0)
        if not (width and height):
            # Its corners would be drawn even so.
            self._texture, self._shape.border = None, [0] * 4
        else:
            most = min(width, height) // 2
            radii = [min(round(radius), most) for radius in self._radii]
            texture = rounded_texture((radii[0], radii[1], radii[2], radii[3]))
            if texture is not self._texture:
                self._texture = self._shape.texture = texture
                self._shape.border = [max(radii)] * 4
        self._shape.pos = (left, bottom)
        self._shape.size = (width, height)

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
        self._pictures: list[tuple[float, Rectangle]] = []
        self._pictured = InstructionGroup()
        self._group = group
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
        self._show_pictures(text)
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
        self.left(x - self.width / 2, y)

    def left(self, x: float, y: float) -> None:
        """Put the left edge at x and the middle of the height at y."""
        self._rectangle.pos = (round(x), round(y - self.height / 2))
        for offset, rectangle in self._pictures:
            rectangle.pos = (round(x + offset), round(y - rectangle.size[1] / 2))

    def _show_pictures(self, text: str) -> None:
        """Pictures of emoji, in their own colours, over the spaces that are drawn in their places."""
        found = emoji.pictures_in(text)
        if self._pictures or found:
            self._group.remove(self._pictured)
            self._pictured, self._pictures = InstructionGroup(), []
        if not found:
            return
        self._pictured.add(Color(1, 1, 1, 1))
        spaced, side = emoji.with_spaces(text), round(self._size_px * _PICTURE_SIZE)
        for place, character in found:
            offset = text_width(spaced[:place], self._size_px, self._bold) + (self._size_px - side) / 2
            self._pictures.append((offset, Rectangle(texture=emoji.picture(character), size=(side, side))))
            self._pictured.add(self._pictures[-1][1])
        self._group.insert(self._group.indexof(self._rectangle) + 1, self._pictured)


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
