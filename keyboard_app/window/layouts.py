"""What keys there are and where they lie: layouts read from data files, placed in a rectangle, found by a point.

A layout file is JSON: ``name`` (shown on the space bar), ``language``, ``first_layer``, ``layers`` (name -> rows, top
row first) and, optionally, ``include`` (other layout files whose layers are added). A key is a one-character string,
or an object with ``action`` and, where they differ from the ordinary, ``text``, ``shifted``, ``label``, ``width`` (in
key widths) and ``target`` (for ``layer``). Adding a layout is adding a file to ``layouts/``.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYOUT_FOLDER = Path(__file__).parent / "layouts"


class LayoutError(ValueError):
    """A layout file cannot be used; the message names the file and what to mend."""


class Action(enum.StrEnum):
    """What a key does."""

    TYPE = "type"
    SHIFT = "shift"
    BACKSPACE = "backspace"
    SPACE = "space"
    SEND = "send"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a layer."""

    action: Action
    text: str = ""
    """What it types; a space for the space bar, empty for keys that type nothing."""
    shifted: str = ""
    """What it types under shift."""
    label: str = ""
    """What is drawn on it; empty: what it types."""
    width: float = 1.0
    """In key widths, a row of ten ordinary keys fills the keyboard."""
    target: str = ""
    """The layer that a ``layer`` key shows."""


Rows = tuple[tuple[Key, ...], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A keyboard: named layers of rows of keys."""

    name: str
    language: str
    first_layer: str
    layers: dict[str, Rows]


@dataclass(frozen=True, slots=True)
class PlacedKey:
    """A key and its rectangle, in pixels, origin at the lower left corner of the keyboard."""

    key: Key
    x: float
    y: float
    width: float
    height: float


def available_layouts(folder: Path = LAYOUT_FOLDER) -> list[str]:
    """Names of the layout files in ``folder``, without ``.json``."""
    return sorted(path.stem for path in folder.glob("*.json"))


def load_layout(name: str = "qwerty", folder: Path = LAYOUT_FOLDER) -> Layout:
    """Read ``folder/name.json`` and the files it includes.

    Raises:
        LayoutError: the file is absent, is not JSON, or describes a keyboard that cannot work.
    """
    path = folder / f"{name}.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(available_layouts(folder)) or "none"
        raise LayoutError(f"there is no layout file {path}; layouts here: {known}") from error
    except ValueError as error:
        raise LayoutError(f"{path} is not JSON ({error}); mend the file or restore it") from error
    try:
        layers = {layer: _rows(rows) for layer, rows in described["layers"].items()}
        for included in described.get("include", ()):
            layers = {**load_layout(included, folder).layers, **layers} if included != name else layers
        layout = Layout(described["name"], described["language"], described["first_layer"], layers)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, LayoutError):
            raise
        raise LayoutError(f"{path} does not describe a layout: {error!r}; see the docstring of {__name__}") from error
    if layout.first_layer not in layout.layers:
        raise LayoutError(f"{path}: first_layer {layout.first_layer!r} is not among the layers")
    return layout


def check_targets(layout: Layout) -> None:
    """Make sure that every ``layer`` key leads somewhere.

    Raises:
        LayoutError: a key's target is not a layer of this layout.
    """
    for name, rows in layout.layers.items():
        for key in (key for row in rows for key in row):
            if key.action is Action.LAYER and key.target not in layout.layers:
                raise LayoutError(f"layout {layout.name!r}, layer {name!r}: no layer {key.target!r} to switch to")


def _rows(rows: Iterable[Iterable[str | dict[str, Any]]]) -> Rows:
    made = tuple(tuple(_key(key) for key in row) for row in rows)
    if not made or not all(made):
        raise LayoutError("a layer needs at least one row, and no row may be empty")
    return made


def _key(described: str | dict[str, Any]) -> Key:
    if isinstance(described, str):
        return Key(Action.TYPE, described, _upper(described), described)
    action = Action(described.get("action", Action.TYPE))
    text = " " if action is Action.SPACE else described.get("text", "")
    return Key(
        action=action,
        text=text,
        shifted=described.get("shifted", _upper(text)),
        label=described.get("label", text),
        width=float(described.get("width", 1.0)),
        target=described.get("target", ""),
    )


def _upper(text: str) -> str:
    """The capital of a key, where it is one character too (not so for ß)."""
    return text.upper() if len(text.upper()) == len(text) else text


def place(rows: Rows, width: float, height: float, gap: float, row_gap: float, margin: float) -> list[PlacedKey]:
    """Lay rows out in a rectangle of ``width`` x ``height`` pixels.

    The widest row fills the width inside ``margin``; shorter rows are centred, with keys of the same unit width.
    """
    widest = max(sum(key.width for key in row) for row in rows)
    unit = (width - 2 * margin + gap) / widest
    row_height = (height - 2 * margin + row_gap) / len(rows)
    placed: list[PlacedKey] = []
    for index, row in enumerate(rows):
        x = (width + gap - unit * sum(key.width for key in row)) / 2
        y = height - margin - (index + 1) * row_height + row_gap
        for key in row:
            placed.append(PlacedKey(key, x, y, unit * key.width - gap, row_height - row_gap))
            x += unit * key.width
    return placed


def key_at(placed: list[PlacedKey], x: float, y: float) -> PlacedKey | None:
    """The key nearest to a point, so that gaps and the margins beside a short row have no dead spots."""

    def distance(key: PlacedKey) -> tuple[float, float]:
        vertical = max(key.y - y, 0.0, y - key.y - key.height)
        horizontal = max(key.x - x, 0.0, x - key.x - key.width)
        return vertical, horizontal

    return min(placed, key=distance, default=None)
