"""What keys there are and where they lie: layouts read from data files, placed in a rectangle, found by a point.

A layout file is JSON; docs/extending-the-keyboard.md shows one. Its parts: ``name`` (shown on the space bar), ``code``
(on the language key), ``language`` (of the word lists; absent in a file that is only included), ``first_layer``,
``layers`` (name -> rows, top row first), ``keys`` (name -> a key to be used by name in rows), ``alternates`` (what a
key types -> what a long press offers) and ``include`` (other files whose keys, alternates and layers are added).

A row is a string of keys parted by spaces, ``"shift z x c v b n m backspace"``, or a list of such words and of objects.
A word that names one of ``keys`` is that key; a single character types itself. An object has ``action`` and, where they
differ from the ordinary, ``text``, ``shifted``, ``label``, ``width`` (in key widths) and ``target`` (for ``layer``).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    LANGUAGE = "language"
    """Tap: the next layout; long press: choose one."""
    CLIPBOARD = "clipboard"
    """Shows what was copied lately."""


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
    """The layer that a ``layer`` key shows, or the layout that a ``language`` key chooses."""
    alternates: tuple[str, ...] = ()
    """What a long press offers, the first one under the finger."""

    @property
    def hint(self) -> str:
        """The alternate worth showing in the key's corner: a digit or a sign, not one more accent."""
        first = self.alternates[0] if self.alternates and self.action is Action.TYPE else ""
        return "" if first.isalpha() else first


Rows = tuple[tuple[Key, ...], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A keyboard: named layers of rows of keys."""

    name: str
    code: str
    """Two or three letters for the language key."""
    language: str
    """Which word lists go with it."""
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

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height."""
        return self.x, self.y, self.width, self.height


def available_layouts(folder: Path = LAYOUT_FOLDER) -> list[str]:
    """Names of the files in ``folder`` that are keyboards of their own, without ``.json``; unreadable ones too."""
    return sorted(path.stem for path in folder.glob("*.json") if _names_a_language(path))


def _names_a_language(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("language"))
    except (OSError, ValueError, AttributeError):
        return True


def load_layout(name: str = "qwerty", folder: Path = LAYOUT_FOLDER) -> Layout:
    """Read ``folder/name.json`` and the files it includes.

    Raises:
        LayoutError: a file is absent, is not JSON, or describes a keyboard that cannot work.
    """
    path = folder / f"{name}.json"
    described = _read(name, folder, ())
    try:
        keys = {named: _key(key) for named, key in described["keys"].items()}
        alternates = {text: tuple(others) for text, others in described["alternates"].items()}
        layers = {layer: _rows(rows, keys, alternates) for layer, rows in described["layers"].items()}
        layout = Layout(
            described["name"],
            described.get("code", described["name"][:2].upper()),
            described.get("language", ""),
            described["first_layer"],
            layers,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, LayoutError):
            raise
        raise LayoutError(
            f"{path} does not describe a layout: {error!r}; see docs/extending-the-keyboard.md"
        ) from error
    if layout.first_layer not in layout.layers:
        raise LayoutError(f"{path}: first_layer {layout.first_layer!r} is not among the layers")
    return layout


def _read(name: str, folder: Path, reading: tuple[str, ...]) -> dict[str, Any]:
    """A file with everything it includes; what it says itself stands before what it includes."""
    path = folder / f"{name}.json"
    if name in reading:
        raise LayoutError(f"{path} includes itself, by way of {' and '.join(reading)}")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(available_layouts(folder)) or "none"
        raise LayoutError(f"there is no layout file {path}; layouts here: {known}") from error
    except ValueError as error:
        raise LayoutError(f"{path} is not JSON ({error}); mend the file or restore it") from error
    if not isinstance(described, dict):
        raise LayoutError(f"{path} does not describe a layout: it is no JSON object")
    whole: dict[str, Any] = {"keys": {}, "alternates": {}, "layers": {}}
    try:
        parts = [_read(included, folder, (*reading, name)) for included in described.get("include", ())]
        for part in (*parts, described):
            for kind in whole:
                whole[kind] |= part.get(kind, {})
    except TypeError as error:
        raise LayoutError(f"{path} does not describe a layout: {error}") from error
    return {**described, **whole}


def check_targets(layout: Layout) -> None:
    """Make sure that every ``layer`` key leads somewhere.

    Raises:
        LayoutError: a key's target is not a layer of this layout.
    """
    for name, rows in layout.layers.items():
        for key in (key for row in rows for key in row):
            if key.action is Action.LAYER and key.target not in layout.layers:
                raise LayoutError(f"layout {layout.name!r}, layer {name!r}: no layer {key.target!r} to switch to")


def _rows(
    rows: Iterable[str | Iterable[str | dict[str, Any]]], keys: dict[str, Key], alternates: dict[str, tuple[str, ...]]
) -> Rows:
    made = tuple(
        tuple(_with_alternates(_named(key, keys), alternates) for key in (row.split() if isinstance(row, str) else row))
        for row in rows
    )
    if not made or not all(made):
        raise LayoutError("a layer needs at least one row, and no row may be empty")
    return made


def _named(described: str | dict[str, Any], keys: dict[str, Key]) -> Key:
    if isinstance(described, str) and described in keys:
        return keys[described]
    if isinstance(described, str) and len(described) > 1:
        raise LayoutError(f"there is no key named {described!r}; names are defined under 'keys'")
    return _key(described)


def _with_alternates(key: Key, alternates: dict[str, tuple[str, ...]]) -> Key:
    others = alternates.get(key.text, ()) if key.action is Action.TYPE else ()
    return replace(key, alternates=others) if others else key


def _key(described: str | dict[str, Any]) -> Key:
    if isinstance(described, str):
        return Key(Action.TYPE, described, upper(described), described)
    action = Action(described.get("action", Action.TYPE))
    text = " " if action is Action.SPACE else described.get("text", "")
    return Key(
        action=action,
        text=text,
        shifted=described.get("shifted", upper(text)),
        label=described.get("label", text.strip()),
        width=float(described.get("width", 1.0)),
        target=described.get("target", ""),
    )


def upper(text: str) -> str:
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


def neighbours(layout: Layout) -> dict[str, str]:
    """Letter -> the letters whose keys touch its own on the first layer: where a finger slips to."""
    placed = [p for p in place(layout.layers[layout.first_layer], 10.0, 4.0, 0.0, 0.0, 0.0) if p.key.text.isalpha()]
    return {
        one.key.text: "".join(
            other.key.text
            for other in placed
            if other is not one and abs(other.x - one.x) < 1.1 and abs(other.y - one.y) < 1.1
        )
        for one in placed
    }
