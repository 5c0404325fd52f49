"""Claims about keyboard layouts: files that load, rectangles that tile, points that find their key."""

from __future__ import annotations

import json
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.window.layouts import (
    LAYOUT_FOLDER,
    Action,
    LayoutError,
    available_layouts,
    check_targets,
    key_at,
    load_layout,
    neighbours,
    place,
)

LAYOUT = load_layout("qwerty")


def has_glyph(font: str, character: str) -> bool:
    """Whether one of Kivy's bundled fonts can draw a character."""
    return ord(character) in covered(font)


@cache
def covered(font: str) -> frozenset[int]:
    """Code points of a bundled font, from its character map (OpenType "cmap", format 4 and 12)."""
    # Not imported: what is shown in a window needs Kivy set up first.
    kivy = find_spec("kivy")
    assert kivy is not None
    assert kivy.origin is not None
    file = Path(kivy.origin).parent / "data" / "fonts" / {"Roboto": "Roboto-Regular.ttf"}.get(font, f"{font}.ttf")
    data = file.read_bytes()
    tables = {
        data[at : at + 4]: struct.unpack_from(">I", data, at + 8)[0]
        for at in range(12, 12 + 16 * struct.unpack_from(">H", data, 4)[0], 16)
    }
    cmap = tables[b"cmap"]
    found: set[int] = set()
    for number in range(struct.unpack_from(">H", data, cmap + 2)[0]):
        at = cmap + struct.unpack_from(">I", data, cmap + 8 + 8 * number)[0]
        form = struct.unpack_from(">H", data, at)[0]
        if form == 12:
            for group in range(struct.unpack_from(">I", data, at + 12)[0]):
                first, last = struct.unpack_from(">II", data, at + 16 + 12 * group)
                found |= set(range(first, last + 1))
        elif form == 4:
            count = struct.unpack_from(">H", data, at + 6)[0] // 2
            lasts = struct.unpack_from(f">{count}H", data, at + 14)
            firsts = struct.unpack_from(f">{count}H", data, at + 16 + 2 * count)
            for first, last in zip(firsts, lasts, strict=True):
                found |= set(range(first, last + 1))
    return frozenset(found)


@pytest.mark.parametrize("name", available_layouts())
def test_every_shipped_layout_types_all_of_ascii_and_leads_everywhere(name: str) -> None:
    layout = load_layout(name)
    check_targets(layout)
    keys = [key for rows in layout.layers.values() for row in rows for key in row]
    typed = {key.text for key in keys} | {key.shifted for key in keys}
    assert {chr(code) for code in range(0x20, 0x7F)} <= typed
    for rows in layout.layers.values():
        actions = {key.action for row in rows for key in row}
        assert {Action.BACKSPACE, Action.SPACE, Action.SEND} <= actions


@pytest.mark.parametrize("layer", sorted(LAYOUT.layers))
def test_no_two_keys_overlap_and_all_lie_inside(layer: str) -> None:
    placed = place(LAYOUT.layers[layer], 360, 210, gap=6, row_gap=8, margin=5)
    for number, key in enumerate(placed):
        assert key.x >= 0
        assert key.y >= 0
        assert key.x + key.width <= 360
        assert key.y + key.height <= 210
        for other in placed[number + 1 :]:
            apart_x = key.x + key.width <= other.x or other.x + other.width <= key.x
            apart_y = key.y + key.height <= other.y or other.y + other.height <= key.y
            assert apart_x or apart_y


@given(x=st.floats(0, 360), y=st.floats(0, 210))
def test_every_point_of_the_keyboard_belongs_to_a_key_nearby(x: float, y: float) -> None:
    placed = place(LAYOUT.layers["letters"], 360, 210, gap=6, row_gap=8, margin=5)
    key = key_at(placed, x, y)
    assert key is not None
    assert abs(y - (key.y + key.height / 2)) <= key.height / 2 + 8
    assert abs(x - (key.x + key.width / 2)) <= key.width / 2 + 30


def test_the_margin_beside_a_short_row_belongs_to_its_outer_key() -> None:
    placed = place(LAYOUT.layers["letters"], 360, 210, gap=6, row_gap=8, margin=5)
    a = next(p for p in placed if p.key.text == "a")
    found = key_at(placed, 1, a.y + a.height / 2)
    assert found is a


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "does not describe a layout"),
        ('{"name": "x", "language": "", "first_layer": "b", "layers": {"a": [["q"]]}}', "first_layer"),
        ('{"name": "x", "language": "", "first_layer": "a", "layers": {"a": [[]]}}', "no row may be empty"),
        ('{"name": "x", "language": "", "first_layer": "a", "layers": {"a": [[{"action": "fly"}]]}}', "fly"),
    ],
)
def test_a_broken_layout_file_is_named_with_what_to_mend(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(LayoutError, match=message):
        load_layout("mine", tmp_path)


def test_the_promised_layouts_ship() -> None:
    assert {"qwerty", "qwertz", "azerty", "spanish"} <= set(available_layouts())
    assert {"symbols", "more_symbols", "numbers", "emoji"} <= set(LAYOUT.layers)


@pytest.mark.parametrize("name", available_layouts())
def test_every_character_that_can_be_typed_can_be_drawn(name: str) -> None:
    from keyboard_app.window.emoji import characters
    from keyboard_app.window.painting import font_for

    for rows in load_layout(name).layers.values():
        for key in (key for row in rows for key in row):
            for text in (key.text, key.shifted, key.label, *key.alternates):
                for character in text.replace("\n", "").strip():
                    assert character in characters() or has_glyph(font_for(character), character), (
                        f"{character!r} U+{ord(character):04X}"
                    )


@pytest.mark.parametrize(
    ("name", "letters"), [("qwertz", "äöüß"), ("spanish", "ñáéíóúü¿¡"), ("azerty", "éèêàâçùûôîœ'"), ("qwerty", "é£—")]
)
def test_the_letters_of_a_language_are_at_hand(name: str, letters: str) -> None:
    layout = load_layout(name)
    at_hand = {
        character
        for layer in (layout.first_layer, "symbols", "more_symbols")
        for row in layout.layers[layer]
        for key in row
        for character in (key.text, *key.alternates)
    }
    assert set(letters) <= at_hand


def test_a_file_that_includes_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"language": "x", "include": ["b"]}')
    (tmp_path / "b.json").write_text('{"include": ["a"]}')
    with pytest.raises(LayoutError, match="includes itself"):
        load_layout("a", tmp_path)


def test_an_unknown_key_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"name": "x", "language": "x", "first_layer": "l", "layers": {"l": ["q w nonsense"]}}'
    )
    with pytest.raises(LayoutError, match="nonsense"):
        load_layout("a", tmp_path)


def test_adding_a_layout_is_adding_a_file(tmp_path: Path) -> None:
    for shipped in LAYOUT_FOLDER.glob("*.json"):
        (tmp_path / shipped.name).write_text(shipped.read_text())
    (tmp_path / "dvorak.json").write_text(
        json.dumps(
            {
                "name": "Dvorak",
                "language": "en",
                "first_layer": "letters",
                "include": ["symbols", "numbers", "emoji"],
                "layers": {
                    "letters": [
                        "' , . p y f g c r l",
                        "a o e u i d h t n s",
                        "shift q j k x b m w v backspace",
                        "to_symbols to_emoji language z space send",
                    ]
                },
            }
        )
    )
    assert "dvorak" in available_layouts(tmp_path)
    layout = load_layout("dvorak", tmp_path)
    check_targets(layout)
    assert layout.code == "DV"
    assert layout.layers["letters"][1][1].text == "o"


def test_an_absent_layout_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="qwerty"):
        load_layout("klingon")


def test_a_layer_key_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    rows = [["a", {"action": "layer", "target": "gone", "label": "?"}]]
    described = {"name": "x", "language": "", "first_layer": "a", "layers": {"a": rows}}
    (tmp_path / "mine.json").write_text(json.dumps(described))
    with pytest.raises(LayoutError, match="gone"):
        check_targets(load_layout("mine", tmp_path))


def test_neighbours_are_the_keys_a_finger_slips_to() -> None:
    around = neighbours(LAYOUT)
    assert {"f", "h", "t", "y", "v", "b"} <= set(around["g"])
    assert "q" not in around["g"]
    assert set("wa") <= set(around["q"])
    assert "y" in neighbours(load_layout("qwertz"))["x"]


def test_every_emoji_that_is_offered_has_its_picture() -> None:
    from keyboard_app.window.emoji import COLUMNS, PICTURES, SIDE_PX, characters
    from keyboard_app.window.make_emoji import offered

    assert list(characters()) == offered()
    width, height = struct.unpack_from(">II", PICTURES.read_bytes(), 16)
    assert (width, height) == (COLUMNS * SIDE_PX, -(-len(characters()) // COLUMNS) * SIDE_PX)


def test_pictures_stand_where_the_line_has_spaces() -> None:
    from keyboard_app.window.emoji import SPACE, pictures_in, with_spaces

    line = "I ❤\ufe0f it 🎉"
    assert with_spaces(line) == f"I {SPACE} it {SPACE}"
    assert [(place, character) for place, character in pictures_in(line)] == [(2, "❤"), (7, "🎉")]
