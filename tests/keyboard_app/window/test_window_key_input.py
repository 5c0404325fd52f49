"""Claims about shift, layers and the hardware keyboard, without a window."""

from __future__ import annotations

import pytest

from keyboard_app.window.input import DOUBLE_SPACE_S, DOUBLE_TAP_S, KeyInput, Shift, TypingHabits, begins_sentence
from keyboard_app.window.layouts import Action, Key, load_layout

LAYOUT = load_layout("qwerty")


class Line:
    """The simplest editor."""

    def __init__(self) -> None:
        self.text = ""
        self.secret = False
        self.sent: list[str] = []

    def insert(self, character: str) -> None:
        self.text += character

    def end_sentence(self) -> None:
        self.text = self.text[:-1] + ". "

    def before_cursor(self) -> str | None:
        return None if self.secret else self.text

    def show_clipboard(self) -> None:
        self.text += "<clipboard>"

    def delete(self) -> None:
        self.text = self.text[:-1]

    def move(self, by: int) -> None:
        self.text += f"<{by}>"

    def send(self) -> None:
        self.sent.append(self.text)
        self.text = ""


class Board:
    """Keys under one finger."""

    def __init__(self, automatic: bool = False) -> None:
        self.languages: list[str] = []
        self.line = Line()
        self.now = 0.0
        self.shown = 0
        self.keys = KeyInput(
            [LAYOUT, load_layout("qwertz")],
            self.line,
            lambda: self.now,
            self._note,
            lambda layout: self.languages.append(layout.language),
            TypingHabits(automatic, automatic),
        )

    def _note(self) -> None:
        self.shown += 1

    def find(self, label: str) -> Key:
        for row in self.keys.rows:
            for key in row:
                if label in (key.text, key.action.value, key.label):
                    return key
        raise KeyError(label)

    def tap(self, *labels: str) -> None:
        for label in labels:
            key = self.find(label)
            self.keys.fire(key)
            self.keys.released(key)
            self.now += 1.0


@pytest.fixture
def board() -> Board:
    return Board()


def test_shift_makes_one_capital(board: Board) -> None:
    board.tap("shift", "a", "b")
    assert board.line.text == "Ab"
    assert board.keys.shift is Shift.OFF


def test_shift_twice_slowly_is_no_shift(board: Board) -> None:
    board.tap("shift", "shift", "a")
    assert board.line.text == "a"


def test_a_double_tap_locks_capitals_until_the_next_tap(board: Board) -> None:
    board.tap("shift")
    board.now -= 1.0 - DOUBLE_TAP_S / 2
    board.tap("shift", "a", "b")
    assert board.keys.shift is Shift.LOCKED
    board.tap("shift", "c")
    assert board.line.text == "ABc"


def test_shift_held_while_typing_ends_when_it_is_let_go(board: Board) -> None:
    shift = board.find("shift")
    board.keys.fire(shift)
    board.tap("a", "b")
    board.keys.released(shift)
    board.tap("c")
    assert board.line.text == "ABc"


def test_symbols_stay_for_several_and_leave_with_a_space(board: Board) -> None:
    board.tap("?123", "1", "2", " ", "a")
    assert board.line.text == "12 a"


def test_more_symbols_are_a_layer_further(board: Board) -> None:
    board.tap("?123", "=\\<", "€", "ABC", "a")
    assert board.line.text == "€a"


def test_labels_follow_shift(board: Board) -> None:
    assert board.keys.label(board.find("q")) == "q"
    board.tap("shift")
    assert board.keys.label(board.find("q")) == "Q"
    assert board.keys.label(board.find("shift")) == "⬆"


def test_what_is_drawn_changes_only_when_something_did(board: Board) -> None:
    board.tap("a", "b", " ", "backspace")
    assert board.shown == 0


def test_a_hardware_keyboard_takes_the_same_path(board: Board) -> None:
    board.keys.hardware_text("Hello ñ\n\t\x00")
    assert board.line.text == "Hello ñ"
    assert board.keys.hardware_key("backspace")
    assert board.keys.hardware_key("left")
    assert board.line.text == "Hello <-1>"
    assert board.keys.hardware_key("enter")
    assert board.line.sent == ["Hello <-1>"]
    assert not board.keys.hardware_key("f5")


def test_no_layer_lacks_a_way_back(board: Board) -> None:
    for rows in LAYOUT.layers.values():
        targets = {key.target for row in rows for key in row if key.action is Action.LAYER}
        assert targets


def test_a_sentence_begins_with_a_capital() -> None:
    board = Board(automatic=True)
    board.keys.follow_text()
    board.tap(*"hi", ".", "space", *"ok")
    assert board.line.text == "Hi. Ok"


def test_going_back_to_the_beginning_brings_the_capital_back() -> None:
    board = Board(automatic=True)
    board.keys.follow_text()
    board.tap("h", "backspace")
    assert board.keys.shift is Shift.ONCE


def test_shift_turned_off_at_a_beginning_stays_off() -> None:
    board = Board(automatic=True)
    board.keys.follow_text()
    board.tap("shift", "h")
    assert board.line.text == "h"


def test_a_password_gets_no_capitals_and_no_full_stops() -> None:
    board = Board(automatic=True)
    board.line.secret = True
    board.keys.follow_text()
    board.tap("h")
    for _ in range(2):
        board.keys.fire(board.find("space"))
    assert board.line.text == "h  "


@pytest.mark.parametrize(
    ("before", "begins"),
    [
        ("", True), ("  ", True), ("Hi", False), ("Hi. ", True), ("Hi.", False), ("really?! ", True), ("(ok.) ", True),
        ("a, ", False), ("¿", True), ("hola ¡", True), ("e.g ", False),
    ],
)  # fmt: skip
def test_where_a_sentence_begins(before: str, begins: bool) -> None:
    assert begins_sentence(before) is begins


def test_two_quick_spaces_end_the_sentence() -> None:
    board = Board(automatic=True)
    board.tap(*"ok")
    for _ in range(2):
        board.keys.fire(board.find("space"))
        board.now += DOUBLE_SPACE_S / 2
    board.tap("y")
    assert board.line.text == "ok. Y"


@pytest.mark.parametrize("before", ["", "ok.", "ok, "])
def test_two_spaces_after_a_sign_are_two_spaces(before: str) -> None:
    board = Board(automatic=True)
    board.line.text = before
    for _ in range(2):
        board.keys.fire(board.find("space"))
    assert board.line.text == before + "  "


def test_two_slow_spaces_are_two_spaces() -> None:
    board = Board(automatic=True)
    board.tap(*"ok", "space", "space")
    assert board.line.text == "ok  "


def test_the_language_key_walks_through_the_layouts() -> None:
    board = Board()
    board.tap("language")
    assert board.keys.layout.name == "Deutsch"
    board.tap("z", "ü", "language")
    assert (board.line.text, board.keys.layout.name, board.languages) == ("zü", "English", ["de", "en"])


def test_a_long_press_on_the_language_key_offers_the_others() -> None:
    board = Board()
    others = board.keys.alternates(board.find("language"))
    assert [key.label for key in others] == ["DE"]
    board.keys.fire(others[0])
    assert board.keys.layout.name == "Deutsch"


def test_alternates_follow_shift() -> None:
    board = Board()
    assert "é" in [key.text for key in board.keys.alternates(board.find("e"))]
    board.keys.fire(board.find("shift"))
    assert "É" in [key.text for key in board.keys.alternates(board.find("e"))]
