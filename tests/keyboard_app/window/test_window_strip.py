"""Claims about the strip: corrections that can be taken back, places that hold, long presses, what stays away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.suggestions import Preferences
from keyboard_app.text import WordMemory, WordSuggester
from keyboard_app.window import menu as menu_module
from keyboard_app.window.strip import in_places

pytestmark = pytest.mark.xdist_group("window")


@pytest.fixture(scope="module")
def corrector() -> Any:
    words = WordSuggester.shipped()
    assert words.corrector is not None
    words.corrector.load()
    return words.corrector


@pytest.fixture
def suggester(tmp_path: Path, corrector: Any) -> WordSuggester:
    words = WordSuggester.shipped("en", WordMemory(tmp_path / "words.sqlite"), correction=False)
    words.corrector = corrector
    return words


@pytest.fixture
def typing(make_rig: Callable[..., Any], suggester: WordSuggester) -> Any:
    """A phone with corrections and a memory of words."""
    return make_rig(suggester=suggester)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menu_module, "LONG_PRESS_S", 0.0)


@given(
    st.lists(st.sampled_from("abcde"), max_size=3, unique=True),
    st.lists(st.sampled_from("abcde"), max_size=3, unique=True),
)
def test_the_best_is_in_the_middle_and_a_word_that_stays_beside_it_keeps_its_side(
    first: list[str], then: list[str]
) -> None:
    before = in_places(first)
    after = in_places(then, before)
    assert sorted(word for word in after if word) == sorted(then)
    if then:
        assert after[1] == then[0]
    for side in (0, 2):
        other = 2 - side
        if before[side] and before[side] in (after[0], after[2]) and not (before[other] and before[other] in then[1:]):
            assert after[side] == before[side]


def test_a_mistake_is_corrected_by_space_as_the_strip_announced(typing: Any) -> None:
    typing.type("teh")
    assert typing.screen.words.words[1] == "the"
    assert typing.screen.words.words[0] == typing.screen.words.quoted == "teh"
    typing.key("space")
    assert typing.session.composed == "the "


def test_a_sign_corrects_too(typing: Any) -> None:
    typing.type("my freind")
    typing.key(",")
    assert typing.session.composed == "my friend,"


def test_backspace_takes_the_correction_back_and_it_is_not_made_again(typing: Any) -> None:
    typing.type("teh")
    typing.key("space")
    typing.key("backspace")
    assert typing.session.composed == "teh"
    typing.key("space")
    assert typing.session.composed == "teh "
    typing.type("teh ")
    assert typing.session.composed == "teh teh "


def test_the_word_in_quotes_is_kept_by_touch(typing: Any) -> None:
    typing.type("teh")
    typing.tap_box(typing.screen.words.box(0))
    assert typing.session.composed == "teh "
    typing.type("teh ")
    assert typing.session.composed == "teh teh "


def test_names_inside_a_sentence_are_left_alone(typing: Any) -> None:
    typing.type("with ")
    typing.key("shift")
    typing.key("F")
    typing.type("reind ")
    assert typing.session.composed == "with Freind "


def test_corrections_can_be_switched_off(typing: Any) -> None:
    typing.session.preferences.correct = False
    typing.type("teh ")
    assert typing.session.composed == "teh "


def test_a_sign_after_a_chosen_word_stands_close_to_it(typing: Any) -> None:
    typing.type("restaur")
    typing.tap_box(typing.screen.words.box(1))
    typing.key(".")
    typing.type("ok")
    assert typing.session.composed == "restaurant. ok"


def test_the_strip_is_never_blank_whatever_is_typed(typing: Any) -> None:
    for character in "hey xqztt teh 42 wonderful ":
        typing.screen.insert(character)
        assert any(typing.screen.words.words)
    typing.key("send")
    assert any(typing.screen.words.words)


def test_words_of_the_person_come_back(typing: Any) -> None:
    for _ in range(2):
        typing.type("meet at kreuzplatz")
        typing.key("send")
    typing.type("meet at ")
    assert typing.screen.words.words[1] == "kreuzplatz"


@pytest.mark.parametrize("switch", ["incognito", "password"])
def test_nothing_is_learned_where_nothing_may_be_kept(typing: Any, suggester: WordSuggester, switch: str) -> None:
    if switch == "password":
        typing.tap_box(typing.screen.composer.switch_box)
    else:
        typing.screen.toggle_incognito()
    typing.type("canaryword here")
    typing.key("send")
    assert suggester.memory is not None
    assert suggester.memory.words() == []


@pytest.mark.usefixtures("quick")
def test_a_word_held_long_can_be_sent_away_for_good(typing: Any, suggester: WordSuggester) -> None:
    typing.type("restaur")
    x, y, width, height = typing.screen.words.box(1)
    finger = typing.touch(x + width / 2, y + height / 2)
    typing.frames_until(lambda: typing.screen.refusals.is_open)
    finger.touch_up()
    assert typing.session.composed == "restaur", "a long press chooses nothing"
    typing.tap_box(typing.screen.refusals.menu.box(0))
    assert not typing.screen.refusals.is_open
    assert "restaurant" not in typing.screen.words.words
    assert suggester.memory is not None
    again = WordSuggester.shipped("en", WordMemory(suggester.memory.path), correction=False)
    assert "restaurant" not in again.suggest("restaur").words


def hold_query(rig: Any) -> None:
    rig.type("any good thai restaurants in oakland")
    x, y, width, height = rig.screen.pill.pill_box
    finger = rig.touch(x + width / 2, y + height / 2)
    rig.frames_until(lambda: rig.screen.refusals.is_open)
    finger.touch_up()
    rig.frames(2)
    assert not rig.screen.search.is_open


def retype(rig: Any, line: str = "any good thai restaurants in oakland") -> None:
    rig.session.clear()
    rig.screen.refresh()
    rig.type(line)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("choice", "elsewhere", "other_topic"), [(0, False, True), (1, False, True), (2, True, False), (3, False, False)]
)
def test_a_query_held_long_can_be_refused(
    make_rig: Callable[..., Any], tmp_path: Path, choice: int, elsewhere: bool, other_topic: bool
) -> None:
    preferences = Preferences.load(tmp_path / "preferences.json")
    rig = make_rig(preferences=preferences)
    rig.session.open_conversation("Robin")
    hold_query(rig)
    rig.tap_box(rig.screen.refusals.menu.box(choice))
    retype(rig)
    assert rig.screen.pill.query != "thai restaurants in oakland"
    rig.session.open_conversation("Mina")
    retype(rig)
    assert (rig.screen.pill.query == "thai restaurants in oakland") is elsewhere
    rig.session.open_conversation("Robin")
    retype(rig, "weather in berlin")
    assert (rig.screen.pill.query == "weather in berlin") is other_topic
    kept = Preferences.load(tmp_path / "preferences.json")
    assert (kept.queries, kept.refused_queries, kept.refused_categories, kept.quiet_conversations) == (
        preferences.queries,
        preferences.refused_queries,
        preferences.refused_categories,
        preferences.quiet_conversations,
    )
    assert any(rig.screen.words.words), "words stay"


@pytest.mark.usefixtures("quick")
def test_a_touch_beside_a_menu_puts_it_away(rig: Any) -> None:
    hold_query(rig)
    rig.tap(5, 5)
    assert not rig.screen.refusals.is_open
    assert rig.screen.pill.query is not None
    assert rig.session.composed.endswith("oakland")


def test_one_switch_turns_queries_off_and_on_while_words_stay(rig: Any) -> None:
    rig.type("any good thai restaurants in oakland")
    assert rig.screen.pill.query is not None
    rig.screen.refusals.allow_queries(False)
    assert rig.screen.pill.query is None
    assert any(rig.screen.words.words)
    rig.key("send")
    rig.screen.refusals.allow_queries(True)
    rig.session.open_conversation("another")
    rig.type("any good thai restaurants in oakland")
    assert rig.screen.pill.query is not None


def test_damaged_preferences_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "preferences.json"
    path.write_text("{nonsense")
    found = Preferences.load(path)
    assert found.queries
    assert found.recovered is not None
    assert found.recovered.read_text() == "{nonsense"
    found.save()
    assert Preferences.load(path).recovered is None


def test_words_that_are_read_beside_typing_fill_the_strip_without_a_key(
    make_rig: Callable[..., Any], suggester: WordSuggester
) -> None:
    rig = make_rig(suggester=suggester)
    rig.screen.session.words = None
    rig.screen.refresh_status()
    assert not rig.screen.words.targets()
    rig.screen.session.words = suggester
    rig.screen.refresh_status()
    assert len(rig.screen.words.targets()) == 3
