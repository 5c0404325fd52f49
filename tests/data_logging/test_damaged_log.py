"""A damaged, foreign, locked or unwritable log: a clear message, nothing lost, nothing crashes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from data_logging import (
    Impression,
    ImpressionLog,
    LogBusyError,
    LogTooNewError,
    LogUnavailableError,
    Outcome,
)
from data_logging.schema import MIGRATIONS, SCHEMA_VERSION

Make = Callable[..., Impression]


def _filled(path: Path, impression: Make, rows: int = 200) -> None:
    log = ImpressionLog(path, lambda: 1.8e9)
    for number in range(rows):
        log.record(impression(created_at=1.8e9, context=f"line {number} " + "z" * 500), Outcome.IGNORED)
    log.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_file_that_is_no_database_is_set_aside(log_path: Path, impression: Make) -> None:
    content = b"this is not a database, but it may be somebody's text" * 50
    log_path.write_bytes(content)
    log = ImpressionLog(log_path, lambda: 1.8e9)
    assert log.recovered is not None
    assert log.recovered.set_aside.read_bytes() == content
    assert log.recovered.set_aside.name == "log.sqlite.corrupt-1"
    assert ".recover" in str(log.recovered)
    assert log.record(impression()) == 1


def test_a_damaged_page_is_found_when_the_log_is_opened(log_path: Path, impression: Make) -> None:
    _filled(log_path, impression)
    content = bytearray(log_path.read_bytes())
    content[8192:40_000] = b"\xa5" * (40_000 - 8192)
    log_path.write_bytes(bytes(content))
    log = ImpressionLog(log_path, lambda: 1.8e9)
    assert log.recovered is not None
    assert log.recovered.set_aside.read_bytes() == bytes(content)
    assert log.impressions() == []


def test_damage_while_running_is_survived_in_the_same_call(log_path: Path, impression: Make) -> None:
    log = ImpressionLog(log_path, lambda: 1.8e9)
    log.record(impression())
    log.close()
    log_path.write_bytes(b"overwritten by something else" * 400)
    assert log.record(impression()) == 1
    assert log.recovered is not None
    assert log.recovered.set_aside.exists()


def test_each_damaged_file_is_kept_under_a_number_of_its_own(log_path: Path) -> None:
    for number in (1, 2, 3):
        log_path.write_bytes(b"broken %d " % number * 300)
        log = ImpressionLog(log_path)
        assert log.recovered is not None
        assert log.recovered.set_aside.name.endswith(f".corrupt-{number}")
        log.close()
    assert len(list(log_path.parent.glob("*.corrupt-*"))) == 3


def test_a_newer_schema_is_left_alone(log_path: Path, impression: Make) -> None:
    _filled(log_path, impression, rows=1)
    with sqlite3.connect(log_path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION + 1,))
    connection.close()
    before = log_path.read_bytes()
    with pytest.raises(LogTooNewError, match="Update the program"):
        ImpressionLog(log_path)
    assert log_path.read_bytes() == before


def test_a_log_of_the_first_schema_keeps_its_rows_and_takes_new_ones(log_path: Path, impression: Make) -> None:
    with sqlite3.connect(log_path) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES (1)")
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO impressions (created_at, conversation, context, candidate, category, baseline_score, features,"
            " score, slot, shown, explored, propensity, model_version, arm, outcome) VALUES (1.8e9, 'c', 'hungry',"
            " 'thai restaurants', 'restaurants', 0.8, '[0.8]', -0.4, 0, 1, 0, 0.95, 3, 'treatment', 'tapped')"
        )
    connection.close()
    log = ImpressionLog(log_path, lambda: 1.8e9)
    log.record(impression(created_at=1.8e9, entity_types=("cuisine", "city")), Outcome.IGNORED)
    old, new = (row.impression for row in log.impressions())
    assert (old.candidate, old.entity_types) == ("thai restaurants", ())
    assert new.entity_types == ("cuisine", "city")
    log.close()


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogUnavailableError, match="permissions"):
        ImpressionLog(tmp_path / "file" / "log.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogUnavailableError, match="permissions"):
        ImpressionLog(tmp_path / "folder")


def test_a_full_disk_is_explained_without_a_word_of_what_was_typed(log_path: Path, impression: Make) -> None:
    log = ImpressionLog(log_path, lambda: 1.8e9)
    log.record(impression())
    # The quota that a full disk would be: SQLite answers with the same error.
    database = log._storage._database()
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LogUnavailableError, match="free space") as caught:
        log.record(impression(context="zebrafish " * 5000))
    assert "zebrafish" not in str(caught.value)
    assert caught.value.__cause__ is None
    database.execute("PRAGMA max_page_count = 1000000")
    assert log.record(impression()) is not None
    assert len(log.impressions()) == 2


def test_a_log_held_by_another_process_is_reported_as_busy(log_path: Path, impression: Make) -> None:
    log = ImpressionLog(log_path, lambda: 1.8e9, timeout_s=0.01)
    with sqlite3.connect(log_path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogBusyError, match="try again"):
            log.record(impression())
        other.rollback()
    assert log.record(impression()) == 1


def test_an_open_reader_delays_the_bytes_not_the_deletion(log_path: Path, impression: Make) -> None:
    log = ImpressionLog(log_path, lambda: 1.8e9, timeout_s=0.01)
    log.record(impression(context="zebrafish"))
    reader = sqlite3.connect(log_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM impressions").fetchall()
    with pytest.raises(LogBusyError):
        log.erase()
    assert log.impressions() == []
    reader.close()
    log.erase()
    assert b"zebrafish" not in log_path.read_bytes()
