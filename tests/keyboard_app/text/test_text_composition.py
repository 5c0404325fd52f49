"""The line being composed behaves like an editor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.text import Composition


def _typed(text: str) -> Composition:
    composition = Composition()
    for character in text:
        composition.insert(character)
    return composition


def test_the_word_at_the_cursor_ends_at_the_cursor() -> None:
    composition = _typed("thai restau")
    assert composition.word == "restau"
    composition.move_to(7)
    assert composition.word == "re"
    assert composition.before_cursor == "thai re"
    composition.move_to(5)
    assert composition.word == ""


def test_apostrophes_inside_belong_to_the_word_and_quotes_do_not() -> None:
    assert _typed("I don't").word == "don't"
    assert _typed("she said 'hel").word == "hel"


def test_a_chosen_word_replaces_what_was_typed_and_adds_a_space() -> None:
    composition = _typed("thai restau")
    composition.replace_word("restaurants")
    assert composition.text == "thai restaurants "
    assert composition.word == ""


def test_backspace_right_after_a_chosen_word_brings_back_what_was_typed() -> None:
    composition = _typed("teh")
    composition.replace_word("the")
    composition.backspace()
    assert (composition.text, composition.cursor) == ("teh", 3)
    composition.backspace()
    assert composition.text == "te"


def test_backspace_after_going_on_typing_deletes_one_character() -> None:
    composition = _typed("teh")
    composition.replace_word("the")
    composition.insert("x")
    composition.backspace()
    assert composition.text == "the "


def test_a_word_chosen_in_the_middle_does_not_double_the_space() -> None:
    composition = _typed("go t far")
    composition.move_to(4)
    composition.replace_word("too")
    assert composition.text == "go too far"


@given(st.lists(st.one_of(st.text(max_size=3), st.just(None), st.integers(-2, 20)), max_size=30))
def test_it_agrees_with_a_plain_string_and_a_position(actions: list[str | int | None]) -> None:
    composition, text, cursor = Composition(), "", 0
    for action in actions:
        if action is None:
            assert composition.backspace() is (cursor > 0)
            text, cursor = text[: max(cursor - 1, 0)] + text[cursor:], max(cursor - 1, 0)
        elif isinstance(action, int):
            composition.move_to(action)
            cursor = min(max(action, 0), len(text))
        else:
            composition.insert(action)
            text, cursor = text[:cursor] + action + text[cursor:], cursor + len(action)
        assert (composition.text, composition.cursor) == (text, cursor)
        assert composition.before_cursor == text[:cursor]
