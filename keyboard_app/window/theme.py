"""Themes: every colour of the window, named by what it is for, read from data files.

A theme is a JSON file in ``themes/`` with one ``#RRGGBB`` for each field of :class:`Theme`; adding one is adding a
file.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

THEME_FOLDER = Path(__file__).parent / "themes"

Colour = tuple[float, float, float, float]
"""Red, green, blue, opacity, each in [0, 1]."""


class ThemeError(ValueError):
    """A theme file cannot be used; the message names the file and what to mend."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of the window."""

    name: str
    page: Colour
    """Behind the chat."""
    bar: Colour
    """Header."""
    bar_line: Colour
    ink: Colour
    ink_soft: Colour
    """Text of second rank, on ``bar``, ``page`` and ``field``."""
    accent: Colour
    accent_pressed: Colour
    on_accent: Colour
    bubble_own: Colour
    on_bubble_own: Colour
    bubble_partner: Colour
    on_bubble_partner: Colour
    field: Colour
    """The line being composed, and the search card."""
    field_line: Colour
    tray: Colour
    """Behind the strip and the keys."""
    key: Colour
    key_edge: Colour
    key_pressed: Colour
    function_key: Colour
    function_key_pressed: Colour
    key_ink: Colour
    preview: Colour
    """The larger picture of a pressed key."""
    query: Colour
    query_line: Colour
    query_pressed: Colour
    on_query: Colour
    incognito: Colour
    """The header while nothing is kept."""
    on_incognito: Colour
    switch_off: Colour
    focus: Colour
    """Around what has the focus."""
    focus_edge: Colour
    """Around that ring, so that it is seen on any ground."""


def parse_colour(text: str) -> Colour:
    """``#RRGGBB`` as a colour of full opacity.

    Raises:
        ValueError: it is written otherwise.
    """
    if len(text) != 7 or not text.startswith("#"):
        raise ValueError(f"{text!r} is not a colour of the form #RRGGBB")
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


def load_theme(name: str, folder: Path = THEME_FOLDER) -> Theme:
    """Read ``folder/name.json``.

    Raises:
        ThemeError: the file is absent, is not JSON, lacks a colour or has one too many.
    """
    path = folder / f"{name}.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        wanted = {field.name for field in dataclasses.fields(Theme)}
        if set(described) != wanted:
            raise ValueError(f"missing or unknown: {sorted(set(described) ^ wanted)}")
        colours = {field: parse_colour(value) for field, value in described.items() if field != "name"}
    except OSError as error:
        known = ", ".join(sorted(found.stem for found in folder.glob("*.json"))) or "none"
        raise ThemeError(f"there is no theme file {path}; themes here: {known}") from error
    except (ValueError, TypeError) as error:
        raise ThemeError(f"{path} is not a theme ({error}); compare it with {THEME_FOLDER / 'light.json'}") from error
    return Theme(name=described["name"], **colours)


def theme_for_hour(now: datetime) -> str:
    """The theme that ``auto`` means at this local time: light by day (7 to 19), dark otherwise."""
    return "light" if 7 <= now.hour < 19 else "dark"


def faded(colour: Colour, opacity: float) -> Colour:
    """The same colour, see-through: ``opacity`` in [0, 1]."""
    return colour[0], colour[1], colour[2], opacity


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of two opaque colours, 1..21 (WCAG 2.2, "contrast ratio")."""

    def luminance(colour: Colour) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
