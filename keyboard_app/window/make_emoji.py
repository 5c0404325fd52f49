"""Makes the pictures of the emoji that the layouts offer: ``python -m keyboard_app.window.make_emoji FONT``.

``FONT`` is Noto Color Emoji (``fonts-noto-color-emoji`` in Debian; SIL Open Font License 1.1). Needs Pillow; the
keyboard itself needs neither. The result is committed, see ``emoji_pictures/README.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from keyboard_app.window.emoji import CHARACTERS, COLUMNS, PICTURES, SIDE_PX
from keyboard_app.window.layouts import Action, load_layout

_FONT_SIZE = 109
"""The only size that the font holds, its pictures being bitmaps."""
_FIRST = 0x203C
"""Of characters before this one the fonts have a glyph of their own."""


def offered() -> list[str]:
    """Characters of the emoji layers, in their order."""
    layers = {name: rows for name, rows in load_layout().layers.items() if name.startswith("emoji")}
    keys = [key for rows in layers.values() for row in rows for key in row]
    shown = [key.label for key in keys if key.action in (Action.TYPE, Action.LAYER)]
    return list(dict.fromkeys(character for character in shown if len(character) == 1 and ord(character) >= _FIRST))


def make(font: Path, characters: Sequence[str]) -> list[str]:
    """Write the picture of all characters that the font has; returns these, in reading order."""
    drawn = ImageFont.truetype(str(font), _FONT_SIZE)
    found = [character for character in characters if drawn.getlength(character) == drawn.getlength("😀")]
    rows = -(-len(found) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SIDE_PX, rows * SIDE_PX))
    for number, character in enumerate(found):
        left, top, right, bottom = (round(edge) for edge in drawn.getbbox(character))
        picture = Image.new("RGBA", (right - left, bottom - top))
        ImageDraw.Draw(picture).text((-left, -top), character, font=drawn, embedded_color=True)
        picture = picture.crop(picture.getbbox())
        side = max(picture.size)
        square = Image.new("RGBA", (side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        small = square.resize((SIDE_PX - 4, SIDE_PX - 4), Image.Resampling.LANCZOS)
        row, column = divmod(number, COLUMNS)
        sheet.paste(small, (column * SIDE_PX + 2, row * SIDE_PX + 2))
    sheet.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(PICTURES, optimize=True)
    return found


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("font", type=Path)
    found = make(parser.parse_args().font, offered())
    CHARACTERS.write_text("\n".join("".join(found[at : at + COLUMNS]) for at in range(0, len(found), COLUMNS)) + "\n")
    print(f"{len(found)} pictures, {PICTURES.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
