"""Claims about the window's data files: themes that can be read, a partner that answers."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from keyboard_app.window.partner import PartnerError, ScriptedPartner
from keyboard_app.window.theme import THEME_FOLDER, ThemeError, contrast, load_theme, parse_colour, theme_for_hour

THEMES = sorted(path.stem for path in THEME_FOLDER.glob("*.json"))
TEXT_ON = [
    ("ink", "bar"), ("ink_soft", "bar"), ("ink", "tray"), ("ink_soft", "tray"), ("ink", "field"),
    ("ink_soft", "field"), ("key_ink", "key"), ("key_ink", "key_pressed"), ("key_ink", "function_key"),
    ("key_ink", "function_key_pressed"), ("key_ink", "preview"), ("ink_soft", "key"), ("on_accent", "accent"),
    ("on_bubble_own", "bubble_own"), ("on_bubble_partner", "bubble_partner"), ("on_query", "query"),
    ("on_query", "query_pressed"), ("on_incognito", "incognito"),
]  # fmt: skip


def test_light_and_dark_ship() -> None:
    assert {"light", "dark"} <= set(THEMES)


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_all_text_has_the_contrast_that_small_print_needs(name: str, text: str, ground: str) -> None:
    theme = load_theme(name)
    assert contrast(getattr(theme, text), getattr(theme, ground)) >= 4.5


def test_contrast_agrees_with_the_definition() -> None:
    white, black, grey = parse_colour("#FFFFFF"), parse_colour("#000000"), parse_colour("#767676")
    assert contrast(white, black) == pytest.approx(21.0)
    assert contrast(grey, white) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(("hour", "name"), [(7, "light"), (12, "light"), (18, "light"), (19, "dark"), (3, "dark")])
def test_auto_is_light_by_day(hour: int, name: str) -> None:
    assert theme_for_hour(datetime(2025, 6, 1, hour)) == name


def test_a_theme_with_a_colour_missing_is_named(tmp_path: Path) -> None:
    described = json.loads((THEME_FOLDER / "light.json").read_text())
    del described["ink"]
    (tmp_path / "mine.json").write_text(json.dumps(described))
    with pytest.raises(ThemeError, match="ink"):
        load_theme("mine", tmp_path)


def test_a_theme_with_a_bad_colour_is_named(tmp_path: Path) -> None:
    described = json.loads((THEME_FOLDER / "light.json").read_text())
    described["ink"] = "black"
    (tmp_path / "mine.json").write_text(json.dumps(described))
    with pytest.raises(ThemeError, match="black"):
        load_theme("mine", tmp_path)


def test_an_absent_theme_names_those_that_exist() -> None:
    with pytest.raises(ThemeError, match="dark"):
        load_theme("sepia")


def test_the_partner_answers_to_the_point_and_does_not_repeat_at_once() -> None:
    partner = ScriptedPartner()
    first = partner.answer("shall we get some thai food?")
    second = partner.answer("pizza then")
    assert first != second
    assert partner.answer("zzz") != partner.answer("zzz")


def test_the_same_conversation_goes_the_same_way() -> None:
    lines = ["hi", "any good restaurants?", "what about the movies", "xyzzy?", "ok"]
    one, other = ScriptedPartner(), ScriptedPartner()
    assert [one.answer(line) for line in lines] == [other.answer(line) for line in lines]


def test_a_broken_script_is_named(tmp_path: Path) -> None:
    (tmp_path / "robin.json").write_text('{"name": "Robin"}')
    with pytest.raises(PartnerError, match=r"robin\.json"):
        ScriptedPartner(tmp_path / "robin.json")
