"""Bad days of a keyboard: killed while logging, a disk without space, stores that are damaged, clocks that jump."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
from pathlib import Path

import pytest

from data_logging import ImpressionLog, Outcome
from keyboard_app.suggestions import Exploration, Preferences, SuggestionEngine, TypingSession
from keyboard_app.text import WordMemory, WordSuggester
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog

THAI = "any thai restaurants in oakland"


class Clock:
    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        self.now += 0.4
        return self.now


def keyboard(home: Path, clock: Clock) -> TypingSession:
    (home / "queries.csv").write_text("query,category\nthai restaurants in oakland,restaurants\n")
    bundle = Bundle.shipped()
    log = ImpressionLog(home / "log.sqlite", clock)
    engine = SuggestionEngine(bundle, load_catalog(home / "queries.csv"), log, clock, exploration=Exploration(0.0, 0.0))
    engine.use_model(0, bundle.weights0, -50.0)
    words = WordSuggester.shipped("en", WordMemory(home / "words.sqlite", clock), correction=False)
    return TypingSession(engine, log, words, clock, preferences=Preferences.load(home / "preferences.json"))


def line(session: TypingSession, text: str, tap: bool = False) -> None:
    for character in text:
        session.type(character)
    if tap:
        session.tap_query()
    session.send()


def _type_for_ever(home: Path, ready: int) -> None:
    session = keyboard(home, Clock())
    number = 0
    while True:
        session.open_conversation(str(number))
        line(session, THAI, tap=number % 2 == 0)
        number += 1
        os.write(ready, b".")


@pytest.mark.parametrize("lines", [1, 4, 9])
def test_a_keyboard_killed_while_typing_has_lost_no_line_that_was_sent(tmp_path: Path, lines: int) -> None:
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_type_for_ever, args=(tmp_path, write))
    process.start()
    sent = 0
    while sent < lines:
        sent += len(os.read(read, 1))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    os.close(write)
    while chunk := os.read(read, 1024):
        sent += len(chunk)
    os.close(read)
    log = ImpressionLog(tmp_path / "log.sqlite", Clock())
    assert log.recovered is None
    rows = log.impressions()
    assert sent <= len(rows) <= sent + 1
    assert {row.outcome for row in rows} <= {Outcome.TAPPED, Outcome.IGNORED}
    assert sent <= log.summary().lines <= sent + 1
    memory = WordMemory(tmp_path / "words.sqlite", Clock())
    assert memory.recovered is None
    assert sent - 1 <= memory.count("en", "oakland") <= sent + 1
    assert sqlite3.connect(tmp_path / "log.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _type_without_space(home: Path, answer: int) -> None:
    session = keyboard(home, Clock())
    line(session, THAI)
    # From here on no file may grow: what a full disk is to a program.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for number in range(3):
        session.open_conversation(str(number))
        line(session, THAI)
    session.preferences.queries = False
    session.apply_preferences()
    session.type("x")
    told = {trouble.name for trouble in session.troubles}
    os.write(answer, f"{sorted(told)} {session.composed} {bool(session.strip.words)}".encode())


def test_without_space_typing_goes_on_and_the_person_is_told(tmp_path: Path) -> None:
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_type_without_space, args=(tmp_path, write))
    process.start()
    answer = os.read(read, 4096).decode()
    process.join()
    assert process.exitcode == 0
    assert answer == "['LOG', 'MEMORY', 'PREFERENCES'] x True"
    assert len(ImpressionLog(tmp_path / "log.sqlite", Clock()).impressions()) >= 1, (
        "what was written before is still there"
    )


def test_every_store_damaged_at_once_still_makes_a_keyboard(tmp_path: Path) -> None:
    for name in ("log.sqlite", "words.sqlite", "preferences.json"):
        (tmp_path / name).write_bytes(b"rubbish " * 500)
    session = keyboard(tmp_path, Clock())
    line(session, THAI)
    assert session.troubles == frozenset()
    assert session.strip.words
    for name in ("log.sqlite", "words.sqlite", "preferences.json"):
        assert (tmp_path / f"{name}.corrupt-1").read_bytes().startswith(b"rubbish")


@pytest.mark.parametrize("jump_s", [-10 * 365 * 86_400.0, -7200.0, -1.0, 7200.0])
def test_a_clock_that_jumps_while_typing_stops_nothing(tmp_path: Path, jump_s: float) -> None:
    clock = Clock()
    session = keyboard(tmp_path, clock)
    for character in THAI[:20]:
        session.type(character)
    clock.now += jump_s
    for character in THAI[20:]:
        session.type(character)
    session.send()
    session.open_conversation("next")
    line(session, THAI)
    assert session.troubles == frozenset()
    log = ImpressionLog(tmp_path / "log.sqlite", clock)
    assert len(log.impressions()) == 2
    assert all(0.0 < row.impression.propensity <= 1.0 for row in log.impressions())
