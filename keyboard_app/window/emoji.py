"""Emoji in colour: pictures from ``emoji_pictures/``. The fonts that come with Kivy have outlines of a few.

In a line of text a picture takes the place of a space as wide as the font is high, so that measuring and breaking lines
know nothing of pictures. What has no picture is drawn with the font that has a glyph for it.
"""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "emoji_pictures"
PICTURES = FOLDER / "pictures.png"
CHARACTERS = FOLDER / "characters.txt"
"""The characters of the pictures, in reading order."""
COLUMNS = 16
SIDE_PX = 56
SPACE = "\u2003"
"""An em space: stands in a line where a picture will be."""
_VARIANT = "\ufe0f"
"""Asks for the coloured form; these are coloured anyway."""


@lru_cache(maxsize=1)
def characters() -> Mapping[str, int]:
    """Character -> number of its picture; empty where the pictures are missing."""
    try:
        return {c: number for number, c in enumerate("".join(CHARACTERS.read_text(encoding="utf-8").split()))}
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _as_spaces() -> dict[int, str | None]:
    return {ord(character): SPACE for character in characters()} | {ord(_VARIANT): None}


def with_spaces(text: str) -> str:
    """``text`` with a space in place of each picture."""
    return text if text.isascii() else text.translate(_as_spaces())


def pictures_in(text: str) -> list[tuple[int, str]]:
    """Characters of ``text`` that have a picture: (place in :func:`with_spaces`, character)."""
    if text.isascii():
        return []
    shown = (character for character in text if character != _VARIANT)
    return [(place, character) for place, character in enumerate(shown) if character in characters()]


@lru_cache(maxsize=512)
def picture(character: str) -> Any:
    """Texture of a character that has a picture, ``SIDE_PX`` square."""
    row, column = divmod(characters()[character], COLUMNS)
    sheet = _sheet()
    return sheet.get_region(column * SIDE_PX, sheet.height - (row + 1) * SIDE_PX, SIDE_PX, SIDE_PX)


@lru_cache(maxsize=1)
def _sheet() -> Any:
    """All pictures; read when the first is drawn."""
    from kivy.core.image import Image

    texture = Image(str(PICTURES)).texture
    texture.mag_filter = texture.min_filter = "linear"
    return texture
