"""Claims about the privacy centre: everything that is kept can be seen, understood, taken along and erased."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_logging import Outcome
from keyboard_app.device.history import Ending, HistoryEntry
from keyboard_app.suggestions import Exploration, FieldKind
from keyboard_app.window.theme import load_theme

pytestmark = pytest.mark.xdist_group("window")

LINE = "any good thai restaurants in oakland"
QUERY = "thai restaurants in oakland"
TAB, ENTER, ESCAPE, DELETE, F10 = 9, 13, 27, 127, 291


def joined(session: str = "s-12", when: float = 1_750_000_000.0, **more: Any) -> HistoryEntry:
    return HistoryEntry(
        when, "suggestions", 12, session, 11, "ab" * 32, 31,
        **{"participants": 42, "bytes_up": 18_400, "bytes_down": 900, "ending": Ending.FINISHED,
           "privacy": "no DP guarantee", **more},
    )  # fmt: skip


def test_what_was_suggested_is_two_taps_away_and_one_row_can_be_deleted(page_rig: Any) -> None:
    page_rig.say("how is the weather in berlin")
    page_rig.say(LINE, tap_query=True)
    assert len(page_rig.logged()) == 2
    page_rig.tap_box(page_rig.screen.header.box("menu"))
    page_rig.tap("privacy")
    page_rig.tap("suggested searches")
    assert QUERY in page_rig.page.words
    assert "you tapped it" in page_rig.page.words
    row = page_rig.logged()[-1]
    page_rig.tap(f"delete offer {row.id}")
    assert QUERY not in page_rig.page.words
    assert [kept.id for kept in page_rig.logged()] == [page_rig.logged()[0].id]
    assert QUERY.encode() not in page_rig.keyboard.log.path.read_bytes(), "not in the bytes either"


def test_everything_is_erased_only_after_a_second_tap_and_then_it_is_gone(page_rig: Any) -> None:
    page_rig.say(LINE, tap_query=True)
    page_rig.keyboard.runtime._history.put(joined())
    page_rig.shell.open_privacy()
    page_rig.tap("erase everything")
    page_rig.tap("keep")
    assert page_rig.logged()
    page_rig.tap("erase everything")
    page_rig.tap("erase")
    assert "Everything is erased." in page_rig.page.words
    assert page_rig.logged() == []
    assert page_rig.keyboard.runtime.history == ()
    assert page_rig.keyboard.log.summary().lines == 0
    for path in page_rig.keyboard.home.rglob("*"):
        assert path.is_dir() or b"oakland" not in path.read_bytes(), path.name


def test_learned_words_are_listed_and_can_be_unlearned_one_by_one(page_rig: Any) -> None:
    page_rig.say("quinoa quinoa tabbouleh")
    page_rig.shell.open_privacy()
    page_rig.tap("learned words")
    assert "quinoa · 2 times" in page_rig.page.words
    page_rig.tap("delete word quinoa (en)")
    assert "quinoa" not in page_rig.page.words
    assert "tabbouleh" in page_rig.page.words
    memory = page_rig.keyboard.session.words.memory
    assert [word.word for word in memory.words()] == ["tabbouleh"]


def test_refusals_are_listed_and_can_be_taken_back(page_rig: Any) -> None:
    page_rig.keyboard.session.preferences.refused_queries.add(QUERY)
    page_rig.shell.open_privacy()
    page_rig.tap("refusals")
    assert QUERY in page_rig.page.words
    page_rig.tap(f"delete refusal {QUERY}")
    assert page_rig.keyboard.session.preferences.refused_queries == set()
    assert "Nothing." in page_rig.page.words


def test_the_export_holds_everything_and_only_its_owner_can_read_it(page_rig: Any) -> None:
    page_rig.say(LINE, tap_query=True)
    page_rig.keyboard.runtime._history.put(joined())
    page_rig.shell.open_privacy()
    page_rig.tap("export")
    (path,) = (page_rig.keyboard.home / "exports").iterdir()
    assert str(path) in page_rig.page.words
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    (impression,) = told["log"]["impressions"]
    assert impression["candidate"] == QUERY
    assert impression["outcome"] == "tapped"
    assert told["rounds"][0]["participants"] == 42
    assert told["decisions"] == {"learning": True, "sending": True, "personal": True}
    assert any(run["written"] == "oakland" for run in told["learned_words"]["runs"])


def test_an_export_that_cannot_be_written_is_said_not_raised(page_rig: Any) -> None:
    (page_rig.keyboard.home / "exports").write_text("in the way")
    page_rig.shell.open_privacy()
    page_rig.tap("export")
    assert "could not be written" in page_rig.page.words


def test_paused_learning_keeps_nothing_until_it_goes_on(page_rig: Any) -> None:
    page_rig.shell.open_privacy()
    page_rig.tap("learning")
    page_rig.tap("back")
    page_rig.say(LINE)
    assert page_rig.logged() == []
    assert page_rig.keyboard.session.words.memory.words() == []
    page_rig.shell.open_privacy()
    page_rig.tap("learning")
    page_rig.tap("back")
    page_rig.say(LINE)
    assert len(page_rig.logged()) == 1


def test_pausing_outlives_a_restart(make_page_rig: Callable[..., Any], tmp_path: Path) -> None:
    first = make_page_rig(home=tmp_path / "kept")
    first.shell.open_privacy()
    first.tap("learning")
    first.tap("sending")
    first.keyboard.close()
    again = make_page_rig(home=tmp_path / "kept")
    again.say(LINE)
    assert again.logged() == []
    assert not again.keyboard.runtime.preferences.sending


def test_what_would_be_sent_is_said_with_numbers_and_changes_with_the_decision(
    make_page_rig: Callable[..., Any],
) -> None:
    rig = make_page_rig(coordinator_url="http://127.0.0.1:9", demo_floor=7)
    rig.shell.open_privacy()
    assert "Nothing yet" in rig.page.words
    rig.shell.close_pages()
    rig.say(LINE, tap_query=True)
    rig.shell.open_privacy()
    assert "1 lines, 1 offers, 1 taps" in rig.page.words
    assert "at least 7 devices" in rig.page.words
    rig.tap("sending")
    assert "you chose to keep every update here" in rig.page.words
    assert not rig.keyboard.runtime.preferences.sending
    rig.tap("sending")
    rig.tap("learning")
    assert "as long as learning is paused" in rig.page.words


def test_a_keyboard_without_a_coordinator_says_that_nothing_is_sent(page_rig: Any) -> None:
    page_rig.say(LINE, tap_query=True)
    page_rig.shell.open_privacy()
    assert "Nothing. This keyboard has no coordinator" in page_rig.page.words


def test_why_names_the_words_the_score_against_the_limit_and_what_became_of_it(page_rig: Any) -> None:
    page_rig.say("I am in oakland")
    page_rig.say("any good thai restaurants", tap_query=True)
    page_rig.shell.open_privacy()
    page_rig.tap("suggested searches")
    page_rig.tap(f"offer {page_rig.logged()[-1].id}")
    told = page_rig.page.words
    assert "In your line: thai, restaurants." in told
    assert "Earlier in the chat: oakland." in told
    assert "expected a tap in" in told
    assert "enough to offer it" in told
    assert "any good thai restaurants" in told
    assert "Not counted in any sum yet" in told
    assert "Chance decided" not in told
    page_rig.tap("delete")
    assert page_rig.page.title == "Suggested searches"
    assert all(row.outcome is not Outcome.TAPPED for row in page_rig.logged())


def test_why_tells_when_chance_decided(page_rig: Any) -> None:
    page_rig.keyboard.engine.exploration = Exploration(0.5, 0.49)
    page_rig.say(LINE)
    while not page_rig.logged()[-1].impression.explored:
        page_rig.say(LINE)
    row = page_rig.logged()[-1]
    assert any("Chance decided" in sentence for sentence in page_rig.keyboard.privacy().why(row))


def test_a_round_tells_when_with_whom_from_what_and_how_much(page_rig: Any) -> None:
    page_rig.keyboard.runtime._history.put(joined())
    page_rig.keyboard.runtime._history.put(joined("s-13", ending=Ending.ABANDONED, participants=0))
    page_rig.shell.open_privacy()
    page_rig.tap("rounds")
    told = page_rig.page.words
    assert "Round 12" in told
    assert "with 41 others · from model 11 · 31 offers learned from · 18.4 kB sent, 900 bytes received" in told
    assert "no DP guarantee" in told
    assert "abandoned, nothing was opened" in told
    page_rig.tap("delete round s-12")
    assert [entry.session for entry in page_rig.keyboard.runtime.history] == ["s-13"]


def test_incognito_can_be_switched_in_the_privacy_centre_and_is_seen_afterwards(page_rig: Any) -> None:
    plain = page_rig.pixels()
    page_rig.shell.open_privacy()
    page_rig.tap("incognito")
    page_rig.tap("back")
    violet = np.array(load_theme("light").incognito[:3]) * 255
    bar = page_rig.pixels()[4, 4:350, :3].astype(float)
    assert np.abs(bar - violet).max() < 3
    assert np.abs(plain[4, 4:350, :3].astype(float) - violet).max() > 50
    assert page_rig.keyboard.session.field_kind is FieldKind.NO_LEARNING
    page_rig.say(LINE)
    assert page_rig.logged() == []


def test_without_a_log_the_pages_open_and_say_what_is_wrong(make_page_rig: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "broken"
    (home / "log.sqlite").mkdir(parents=True)
    rig = make_page_rig(home=home)
    rig.tap_box(rig.screen.header.box("device status"))
    assert rig.page.title == "Privacy"
    assert "the local log cannot be opened" in rig.page.words
    rig.tap("erase everything")
    rig.tap("erase")
    rig.tap("export")


def test_a_long_list_is_shown_in_parts(page_rig: Any) -> None:
    for number in range(45):
        page_rig.keyboard.runtime._history.put(joined(f"s-{number}"))
    page_rig.shell.open_privacy()
    page_rig.tap("rounds")
    assert sum(target.name.startswith("delete round") for target in page_rig.page.targets()) == 40
    page_rig.tap("more")
    assert sum(target.name.startswith("delete round") for target in page_rig.page.targets()) == 45


# -- pages as such -----------------------------------------------------------------------------------------------------


def test_the_menu_is_reached_by_touch_and_by_key_and_escape_leads_back_to_the_keys(page_rig: Any) -> None:
    page_rig.press_key(F10)
    assert page_rig.page.title == "Keyboard"
    page_rig.press_key(ESCAPE)
    assert page_rig.page is None
    page_rig.tap_box(page_rig.screen.header.box("menu"))
    assert page_rig.page.title == "Keyboard"
    page_rig.tap("back")
    page_rig.window.dispatch("on_textinput", "h")
    assert page_rig.keyboard.session.composed == "h", "the hardware keyboard types again"


def test_under_a_page_nothing_can_be_typed(page_rig: Any) -> None:
    x, y = page_rig.screen.keyboard.centre_of("g")
    page_rig.shell.open_menu()
    page_rig.tap_at(x, y)
    page_rig.window.dispatch("on_textinput", "h")
    assert page_rig.keyboard.session.composed == ""


def test_everything_on_a_page_is_reached_and_done_by_keyboard_alone(page_rig: Any) -> None:
    page_rig.say(LINE, tap_query=True)
    page_rig.press_key(F10)
    page_rig.press_key(TAB)
    page_rig.press_key(TAB)
    assert page_rig.page.focus.focused.name == "privacy"
    page_rig.press_key(ENTER)
    assert page_rig.page.title == "Privacy"
    names = [target.name for target in page_rig.page.targets()]
    reached = []
    for _ in names:
        page_rig.press_key(TAB)
        focused = page_rig.page.focus.focused
        reached.append(focused.name)
        assert focused.box[1] >= 0, "scrolled into view"
        assert focused.box[1] + focused.box[3] <= page_rig.shell.height
    assert reached == names
    page_rig.press_key(TAB)
    page_rig.press_key(TAB)
    page_rig.press_key(ENTER)
    assert page_rig.page.title == "Suggested searches"
    page_rig.press_key(TAB)
    page_rig.press_key(TAB)
    page_rig.press_key(DELETE)
    assert page_rig.logged() == []


def test_the_focus_is_seen(page_rig: Any) -> None:
    page_rig.shell.open_menu()
    before = page_rig.pixels()
    page_rig.press_key(TAB)
    page_rig.press_key(TAB)
    changed = (page_rig.pixels() != before).any(axis=2).mean()
    assert 0.001 < changed < 0.1


def test_a_finger_that_scrolls_presses_nothing(page_rig: Any) -> None:
    page_rig.shell.open_privacy()
    box = page_rig.page.target("suggested searches").box
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    finger = page_rig.finger(x, y)
    for step in range(1, 11):
        finger.touch_move(x, y + 12 * step)
    finger.touch_up()
    page_rig.frames(3)
    assert page_rig.page.title == "Privacy"
    moved = page_rig.page.target("suggested searches").box[1] - box[1]
    assert moved >= 100, "the page followed"


def test_a_finger_that_slides_off_presses_nothing(page_rig: Any) -> None:
    page_rig.shell.open_privacy()
    box = page_rig.page.target("export").box
    finger = page_rig.finger(box[0] + 5, box[1] + 20)
    finger.touch_move(box[0] + 5, box[1] + 25)
    finger.touch_move(box[0] + 5, box[1] - 60)
    finger.touch_up()
    assert not (page_rig.keyboard.home / "exports").exists()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(320, 520), (360, 640), (800, 1280), (1280, 800)])
def test_every_page_is_drawn_whole_and_inside(
    make_page_rig: Callable[..., Any], size: tuple[int, int], theme: str
) -> None:
    rig = make_page_rig(size=size, theme=theme)
    rig.say(LINE, tap_query=True)
    page = np.array(load_theme(theme).page[:3]) * 255
    for show in (rig.shell.open_menu, rig.shell.open_privacy, rig.shell.open_learning, rig.shell.open_chats):
        show()
        image = rig.pixels()
        assert image.shape[:2] == (size[1], size[0])
        assert (image[..., 3] == 255).all(), "no hole anywhere"
        assert np.abs(image[-2, 2, :3] - page).max() < 3
        for target in rig.page.targets():
            assert target.box[0] >= -8
            assert target.box[0] + target.box[2] <= size[0] + 8
            assert target.box[3] >= 44, f"{target.name} can be hit"
        rig.shell.back()


def test_a_page_that_does_not_change_is_not_drawn_again(page_rig: Any) -> None:
    page_rig.shell.open_privacy()
    drawn = []
    page_rig.page._draw = drawn.append
    page_rig.page.refresh()
    assert drawn == []
    page_rig.keyboard.runtime._history.put(joined())
    page_rig.page.refresh()
    assert len(drawn) == 1
