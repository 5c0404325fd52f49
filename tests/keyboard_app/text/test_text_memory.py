"""What the keyboard learns of the person's own words: under the rules of the log, and it can be seen and taken back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_logging import LogError
from keyboard_app.text import WordMemory, WordSuggester
from keyboard_app.text.tokens import last_words, sentences
from tests.clocks import SettableClock

DAY = 86_400.0


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(1_750_000_000.0)


@pytest.fixture
def memory(tmp_path: Path, clock: SettableClock) -> Iterator[WordMemory]:
    made = WordMemory(tmp_path / "words.sqlite", clock)
    yield made
    made.close()


def on_disk(memory: WordMemory) -> bytes:
    return b"".join(file.read_bytes() for file in memory.path.parent.glob(f"{memory.path.name}*"))


@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_what_was_written_before_is_offered_next(memory: WordMemory, language: str) -> None:
    words = WordSuggester.shipped(language, memory, correction=False)
    assert "Zorblax" not in words.suggest("", "Kreuzberg ").words
    for _ in range(2):
        memory.learn("Kreuzberg Zorblax", language)
    assert words.suggest("", "Kreuzberg ").words[0] == "Zorblax"
    assert words.suggest("zorb").words[0] == "Zorblax"


def test_two_words_before_decide_over_one(memory: WordMemory) -> None:
    words = WordSuggester.shipped("en", memory, correction=False)
    for _ in range(3):
        memory.learn("red wine please", "en")
        memory.learn("white wine tonight", "en")
    assert words.suggest("", "red wine ").words[0] == "please"
    assert words.suggest("", "white wine ").words[0] == "tonight"


def test_a_word_written_once_is_not_yet_a_word(memory: WordMemory) -> None:
    words = WordSuggester.shipped("en", memory, correction=False)
    memory.learn("zorblx", "en")
    assert "zorblx" not in words.suggest("zor").words
    memory.learn("zorblx", "en")
    assert "zorblx" in words.suggest("zor").words


def test_languages_do_not_mix(memory: WordMemory) -> None:
    memory.learn("Zorblax Zorblax", "de")
    assert memory.count("de", "zorblax") == 2
    assert memory.count("en", "zorblax") == 0


@pytest.mark.parametrize(
    "line", ["call 555 123 4567 now", "mail canary@example.org", "IBAN DE44 5001 0517 5407 3249 31", "see canary.com/x"]
)
def test_numbers_and_addresses_are_never_learned(memory: WordMemory, line: str) -> None:
    memory.learn(line, "en")
    assert b"canary" not in on_disk(memory)
    assert not any(character.isdigit() for word in memory.words() for character in word.word)


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_tokens_hold_letters_alone_and_never_fail(text: str) -> None:
    for sentence in sentences(text):
        for word in sentence:
            assert not any(character.isdecimal() for character in word)
    assert len(last_words(text)) <= 2


@pytest.mark.parametrize(
    ("before", "words"),
    [("", ()), ("See ", ("see",)), ("I see the ", ("see", "the")), ("done. ", ()), ("ok, ", ("ok",)), ("(", ())],
)
def test_the_words_before_the_cursor_stop_where_a_sentence_does(before: str, words: tuple[str, ...]) -> None:
    assert last_words(before) == words


def test_forgetting_a_word_takes_its_bytes_from_the_disk(memory: WordMemory) -> None:
    memory.learn("the secretword lives here", "en")
    assert b"secretword" in on_disk(memory)
    assert memory.forget("Secretword") > 3
    assert b"secretword" not in on_disk(memory)
    assert memory.count("en", "lives") == 1
    assert memory.count("en", "lives", ("secretword",)) == 0


def test_erasing_leaves_nothing(memory: WordMemory) -> None:
    memory.learn("canary words everywhere", "en")
    memory.dislike("en", "canary")
    memory.erase()
    assert memory.words() == []
    assert memory.unwanted() == []
    assert b"canary" not in on_disk(memory)


def test_what_is_not_used_expires(memory: WordMemory, clock: SettableClock) -> None:
    memory.learn("old stuff", "en")
    clock.now += 50 * DAY
    memory.learn("new stuff", "en")
    clock.now += 20 * DAY
    memory.learn("today", "en")
    assert {word.word for word in memory.words()} == {"new", "stuff", "today"}


@pytest.mark.parametrize("jump", [-400 * DAY, -3600.0, 3600.0])
def test_a_clock_that_jumps_loses_nothing_of_today(memory: WordMemory, clock: SettableClock, jump: float) -> None:
    memory.learn("before", "en")
    clock.now += jump
    memory.learn("after", "en")
    clock.now -= jump
    memory.learn("again", "en")
    assert "again" in {word.word for word in memory.words()}
    assert memory.count("en", "again") == 1


def test_switched_off_it_learns_nothing_and_stays_off(memory: WordMemory, clock: SettableClock) -> None:
    memory.set_enabled(False)
    assert memory.learn("nothing of this", "en") == 0
    memory.close()
    assert not WordMemory(memory.path, clock).enabled


def test_a_word_sent_away_stays_away_after_a_restart(memory: WordMemory, clock: SettableClock) -> None:
    words = WordSuggester.shipped("en", memory, correction=False)
    assert "restaurant" in words.suggest("restau").words
    memory.dislike("en", "restaurant")
    assert "restaurant" not in words.suggest("restau").words
    again = WordSuggester.shipped("en", WordMemory(memory.path, clock), correction=False)
    assert "restaurant" not in again.suggest("restau").words
    memory.allow("en", "restaurant")
    assert "restaurant" in words.suggest("restau").words


def test_a_correction_taken_back_is_not_made_again(memory: WordMemory) -> None:
    words = WordSuggester.shipped("en", memory)
    assert words.corrector is not None
    words.corrector.load()
    assert words.suggest("freind").correction == "friend"
    memory.dislike("en", "friend", "freind")
    assert words.suggest("freind").correction != "friend"
    assert words.suggest("frein").words, "the word itself is still there"


def test_the_export_holds_everything(memory: WordMemory) -> None:
    memory.learn("two words", "en")
    memory.dislike("en", "three", "tree")
    exported = memory.export()
    assert {run["word"] for run in exported["runs"]} == {"two", "words"}
    assert exported["unwanted"][0]["word"] == "three"


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, clock: SettableClock) -> None:
    path = tmp_path / "words.sqlite"
    path.write_bytes(b"this is no database at all" * 200)
    memory = WordMemory(path, clock)
    assert memory.recovered is not None
    assert memory.recovered.set_aside.exists()
    memory.learn("a new beginning", "en")
    assert memory.count("en", "beginning") == 1


def _learn_for_ever(path: Path, ready: int) -> None:
    memory = WordMemory(path)
    number = 0
    while True:
        memory.learn(f"word{'abcdefghij'[number % 10]} follows", "en")
        number += 1
        if number == 20:
            os.write(ready, b".")


def test_a_process_killed_while_learning_loses_nothing_and_damages_nothing(tmp_path: Path) -> None:
    path = tmp_path / "words.sqlite"
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_learn_for_ever, args=(path, write))
    process.start()
    assert os.read(read, 1) == b"."
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    memory = WordMemory(path)
    assert memory.recovered is None
    assert memory.total("en") >= 40
    assert memory.count("en", "follows") * 2 == memory.total("en"), "lines are whole"
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_without_space_nothing_is_learned_and_an_error_says_so(memory: WordMemory) -> None:
    memory.learn("first", "en")
    memory._storage.run(lambda db: db.execute("PRAGMA max_page_count = 1"))

    def learn_until_full() -> None:
        for number in range(4_000):
            memory.learn(f"canary{chr(97 + number % 26)}{chr(97 + number // 26 % 26)} " * 40, "en")

    with pytest.raises(LogError) as raised:
        learn_until_full()
    assert "canary" not in str(raised.value)
    assert "space" in str(raised.value)
    assert memory.count("en", "first") == 1
