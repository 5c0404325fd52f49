"""Claims about keyboard layouts: files that load, rectangles that tile, points that find their key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.window.layouts import (
    Action,
    LayoutError,
    available_layouts,
    check_targets,
    key_at,
    load_layout,
    place,
)

LAYOUT = load_layout("qwerty")


@pytest.mark.parametrize("name", [name for name in available_layouts() if name != "symbols"])
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


def test_an_absent_layout_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="qwerty"):
        load_layout("klingon")


def test_a_layer_key_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    rows = [["a", {"action": "layer", "target": "gone", "label": "?"}]]
    described = {"name": "x", "language": "", "first_layer": "a", "layers": {"a": rows}}
    (tmp_path / "mine.json").write_text(json.dumps(described))
    with pytest.raises(LayoutError, match="gone"):
        check_targets(load_layout("mine", tmp_path))
