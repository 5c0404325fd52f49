"""Claims about the chats, what the search card knows, and several keyboards in one window."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from keyboard_app.window.chats import all_chats
from keyboard_app.window.commands import run
from keyboard_app.window.partner import PartnerError
from keyboard_app.window.search_results import CatalogResults, NoResults, Results, with_query
from suggestion_model.catalog import load_catalog, shipped_catalog

pytestmark = pytest.mark.xdist_group("window")

LINE = "any good thai restaurants in oakland"
QUERY = "thai restaurants in oakland"


# -- chats -------------------------------------------------------------------------------------------------------------


def test_every_script_is_a_chat_that_begins_with_something_to_answer() -> None:
    chats = all_chats(datetime(2026, 5, 4))
    assert chats[0].name == "Robin"
    assert chats[-1].partner is None
    assert len(chats) >= 4
    for chat in chats[:-1]:
        assert chat.lines
        assert not any(own for _, own in chat.lines)
        assert chat.partner is not None
        for said in ("hello", "what shall we do?", "ok"):
            assert chat.partner.answer(said)
    assert len({chat.key for chat in chats}) == len(chats)


def test_a_broken_script_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"name": "Mine"}')
    with pytest.raises(PartnerError, match=r"mine\.json"):
        all_chats(datetime(2026, 5, 4), tmp_path)


def test_another_chat_is_two_taps_away_and_brings_its_own_lines(page_rig: Any) -> None:
    assert page_rig.screen.conversation.lines[0][0].startswith("hey!")
    page_rig.tap_box(page_rig.screen.header.box("chats"))
    assert "Theo" in page_rig.page.words
    page_rig.tap("chat with Theo")
    assert page_rig.page is None
    assert page_rig.screen.conversation.lines == [("quick question", False), ("what should we watch tonight?", False)]
    assert page_rig.keyboard.session.conversation.startswith("Theo @ ")


def test_an_unsent_line_waits_where_it_was_typed(page_rig: Any) -> None:
    for character in "half a":
        page_rig.screen.insert(character)
    robin, mina = page_rig.shell._chats[:2]
    page_rig.screen.open_chat(mina)
    assert page_rig.keyboard.session.composed == ""
    page_rig.shell.open_chats()
    assert "Draft: half a" in page_rig.page.words
    page_rig.tap("chat with Robin")
    assert page_rig.keyboard.session.composed == "half a"
    assert robin.draft == ""


def test_an_answer_that_comes_in_elsewhere_is_counted_and_read_later(page_rig: Any) -> None:
    robin, mina = page_rig.shell._chats[:2]
    page_rig.say("thanks!")
    page_rig.screen.open_chat(mina)
    waiting = page_rig.screen.header._unread
    page_rig.screen.dialogue.arrive(robin, "any time!")
    assert page_rig.screen.header._unread == waiting + 1
    assert ("any time!", False) not in page_rig.screen.conversation.lines
    page_rig.shell.open_chats()
    page_rig.tap("chat with Robin")
    assert page_rig.screen.conversation.lines[-2:] == [("thanks!", True), ("any time!", False)]


def test_what_one_chat_is_about_does_not_reach_the_other(page_rig: Any) -> None:
    page_rig.say("I am in oakland")
    page_rig.screen.open_chat(page_rig.shell._chats[1])
    for character in "any good thai restaurants":
        page_rig.screen.insert(character)
    assert "oakland" not in (page_rig.screen.pill.query or "")


# -- the search card ---------------------------------------------------------------------------------------------------


def test_the_catalog_tells_what_a_query_names_and_what_is_near() -> None:
    found = CatalogResults(shipped_catalog()).results(QUERY)
    assert "thai (cuisine)" in found.facts
    assert "oakland (city)" in found.facts
    assert found.related
    assert all(related.query != QUERY for related in found.related)


def test_a_plain_list_of_queries_tells_what_is_near(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_text("query,category\nthai restaurants in oakland,restaurants\nrestaurants in oakland,restaurants\n")
    found = CatalogResults(load_catalog(path)).results(QUERY)
    assert found.facts == ()
    assert [related.query for related in found.related] == ["restaurants in oakland"]
    assert NoResults().results(QUERY) == Results()


def test_another_address_is_made_for_another_query() -> None:
    assert with_query("https://x.example/?q=a+b&l=en", "a b", "c d") == "https://x.example/?q=c+d&l=en"


@pytest.fixture
def card_rig(make_page_rig: Callable[..., Any]) -> Any:
    """A keyboard with the search card open, and what was opened in the browser."""
    rig = make_page_rig(size=(420, 800))
    rig.opened = []
    rig.screen.search._open_url = rig.opened.append
    for character in LINE:
        rig.screen.insert(character)
    rig.tap_box(rig.screen.pill.pill_box)
    for _ in range(2000):
        if rig.screen.search.view.y == 0:
            break
        rig.frames(1)
    return rig


def test_the_card_shows_what_is_known_here_before_anything_is_sent(card_rig: Any) -> None:
    card = card_rig.screen.search.view
    assert card.query == QUERY
    assert "thai (cuisine)" in card.results.facts
    assert card_rig.opened == []


def test_a_related_search_takes_the_place_of_the_first_and_only_open_sends_it(card_rig: Any) -> None:
    card = card_rig.screen.search.view
    related = next(one.query for one in card.results.related if one.query in card.boxes)
    card_rig.tap_box(card.button_box(related))
    assert card.query == related
    assert card_rig.opened == []
    card_rig.tap_box(card.button_box("open"))
    (url,) = card_rig.opened
    assert related.replace(" ", "+") in url
    assert card_rig.keyboard.session.composed == LINE


def test_share_says_it_in_the_chat_and_leaves_the_line_alone(card_rig: Any) -> None:
    card_rig.tap_box(card_rig.screen.search.view.button_box("share"))
    text, own = card_rig.screen.conversation.lines[-1]
    assert own
    assert text.startswith(QUERY)
    assert "https://" in text
    assert card_rig.keyboard.session.composed == LINE
    assert not card_rig.screen.search.is_open
    assert card_rig.opened == []


def test_the_cards_buttons_lie_inside_it_and_apart(card_rig: Any) -> None:
    card = card_rig.screen.search.view
    boxes = [target.box for target in card.targets()]
    assert len(boxes) >= 4
    for box in boxes:
        assert box[0] >= card.x
        assert box[0] + box[2] <= card.right
        assert box[1] >= card.y
        assert box[1] + box[3] <= card.top
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
            assert apart or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]


# -- several keyboards -------------------------------------------------------------------------------------------------


def test_two_keyboards_in_one_window_share_nothing_that_is_typed(
    make_page_rig: Callable[..., Any], window: Any
) -> None:
    from keyboard_app.window.instances import Instances
    from keyboard_app.window.theme import load_theme

    rigs = [make_page_rig(), make_page_rig()]
    for rig in rigs:
        window.remove_widget(rig.shell)
    both = Instances([rig.shell for rig in rigs], load_theme("light"), size_hint=(None, None), size=(760, 640))
    window.add_widget(both)
    both.start()
    rigs[0].frames(3)
    try:
        assert both.active is rigs[0].shell
        window.dispatch("on_textinput", "a")
        screen = rigs[1].screen
        rigs[0].tap_at(*screen.keyboard.centre_of("b"))
        assert both.active is rigs[1].shell
        window.dispatch("on_textinput", "c")
        assert rigs[0].keyboard.session.composed == "a"
        assert rigs[1].keyboard.session.composed == "bc"
        rigs[1].shell.open_menu()
        rigs[0].tap_at(*rigs[0].screen.keyboard.centre_of("d"))
        assert rigs[0].keyboard.session.composed == "ad", "a page of one leaves the other alone"
        for character in LINE:
            rigs[0].screen.insert(character)
        rigs[0].screen.send()
        assert len(rigs[0].logged()) == 1
        assert rigs[1].logged() == []
    finally:
        window.remove_widget(both)
        for rig in rigs:
            both.remove_widget(rig.shell)


@pytest.mark.parametrize(("count", "size"), [(1, (420, 800)), (4, (1360, 800)), (4, (760, 1280)), (2, (640, 520))])
def test_tiles_fill_the_window_and_do_not_overlap(window: Any, count: int, size: tuple[int, int]) -> None:
    from keyboard_app.window.instances import tiles

    boxes = tiles(count, *size, gap=6, narrowest=300)
    assert len(boxes) == count
    area = sum(width * height for _, _, width, height in boxes)
    assert 0.95 * size[0] * size[1] <= area <= size[0] * size[1]
    for x, y, width, height in boxes:
        assert x >= 0
        assert y >= -1e-6
        assert x + width <= size[0] + 1e-6
        assert y + height <= size[1] + 1e-6
        assert width >= 300


def test_four_keyboards_start_from_one_command_each_with_a_folder_of_its_own(tmp_path: Path) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    picture = tmp_path / "four.png"
    done = subprocess.run(
        [
            sys.executable, "-m", "keyboard_app.cli", "run", "--home", str(tmp_path / "home"), "--instances", "4",
            "--exit-after", "1", "--screenshot", str(picture), "--type", "hello",
        ],
        env=surroundings, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 20_000
    identities = {path.read_bytes() for path in (tmp_path / "home").glob("keyboard-*/identity.key")}
    assert len(identities) == 4
    assert len(list((tmp_path / "home").glob("keyboard-*/log.sqlite"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--instances", "2", "--authority", "http://127.0.0.1:9", "--token", "t"], "2 tokens"),
        (["--instances", "99"], "8"),
    ],
)
def test_a_wrong_number_of_keyboards_is_answered_with_what_to_do(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    outcome = CliRunner().invoke(run, ["--home", str(tmp_path / "home"), *arguments])
    assert outcome.exit_code != 0
    assert message in outcome.output
