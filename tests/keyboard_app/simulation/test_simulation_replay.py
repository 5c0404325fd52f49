"""Replay files: what is read, what is refused, and what an error never says."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyboard_app.simulation.fleet import cut
from keyboard_app.simulation.replay import LONGEST_LINE_BYTES, ReplayError, ReplayLine, SkippedLine, read_replay
from keyboard_app.simulation.splits import is_held_out, load_people, outline

START = datetime(2026, 3, 2, tzinfo=UTC)


def row(minutes: float, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "user": "ada",
        "conversation": "c1",
        "timestamp": (START + timedelta(minutes=minutes)).isoformat(),
        "text": "is the ferry late",
        "kind": "task",
        "wanted": ["ferry times"],
        "topic": "travel",
    }
    return fields | changes


def write(path: Path, rows: list[Any]) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["replay.jsonl", "replay.jsonl.gz"])
def test_lines_arrive_in_order_with_their_numbers(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [row(0), row(1, soon=["ferry tickets"], reply_to="which one?"), row(1, kind="chat")])
    lines = list(read_replay(path))
    assert [line.number for line in lines] == [1, 2, 3]
    assert lines[1].soon == ("ferry tickets",)
    assert lines[1].reply_to == "which one?"
    assert lines[0].reply_to is None
    assert lines[0].time == START.timestamp()


def test_a_timestamp_without_offset_is_utc(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [row(0, timestamp="2026-03-02T00:00:00")])
    assert next(read_replay(path)).time == START.timestamp()


def test_unknown_fields_and_line_breaks_in_the_text_are_no_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [row(0, later_version="x", text="two\nlines")])
    assert next(read_replay(path)).text == "two\nlines"


BROKEN: list[tuple[str, Any, str]] = [
    ("not json", '{"user": "ada", "text": "MARKER', "not valid JSON"),
    ("no text", {key: value for key, value in row(1).items() if key != "text"}, "text"),
    ("wrong type", row(1, text=["MARKER"]), r"\$\.text"),
    ("bad time", row(1, timestamp="MARKER"), r"\$\.timestamp"),
    ("nobody", row(1, user="", text="MARKER"), "`user`"),
    ("unsorted", row(-5, text="MARKER"), "earlier than the line before"),
    ("empty", "", "empty"),
    ("overlong", row(1, text="MARKER" * LONGEST_LINE_BYTES), "longer than"),
]


@pytest.mark.parametrize(("broken", "says"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_line_is_named_by_number_and_problem_and_never_quoted(tmp_path: Path, broken: Any, says: str) -> None:
    path = write(tmp_path / "r.jsonl", [row(0), broken, row(2)])
    with pytest.raises(ReplayError, match=rf"line 2: .*{says}") as caught:
        list(read_replay(path))
    assert "MARKER" not in str(caught.value)
    assert caught.value.__cause__ is None

    passed_over: list[SkippedLine] = []
    rest = list(read_replay(path, on_error="skip", skipped=passed_over.append))
    assert [line.number for line in rest] == [1, 3]
    assert [line.number for line in passed_over] == [2]


def test_bytes_that_are_no_text_break_only_their_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(json.dumps(row(0)).encode() + b"\n" + b'{"text": "\xff\xfe"}\n' + json.dumps(row(1)).encode())
    assert [line.number for line in read_replay(path, on_error="skip")] == [1, 3]
    with pytest.raises(ReplayError, match="line 2"):
        list(read_replay(path))


def test_a_cut_off_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl.gz", [row(i, text=f"line {i * 7919}") for i in range(200)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReplayError, match="copy the file again"):
        list(read_replay(path))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="check the path given with --replay"):
        list(read_replay(tmp_path / "nowhere.jsonl"))


def test_only_the_people_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [row(0), row(1, user="bo"), row(2)])
    assert [line.number for line in read_replay(path, users={"bo"})] == [2]


def test_about_a_fifth_of_all_people_is_held_out() -> None:
    share = sum(is_held_out(f"person {i}") for i in range(5_000)) / 5_000
    assert 0.18 < share < 0.22


@given(st.text())
def test_whether_a_person_is_held_out_depends_on_the_name_alone(user: str) -> None:
    assert is_held_out(user) == is_held_out(user)


def fortnight(tmp_path: Path, users: list[str]) -> Path:
    """A line an hour for 14 days, a conversation every five hours."""
    rows = [
        row(60 * hour, user=user, conversation=f"{user}-{hour // 5}") for hour in range(14 * 24 + 1) for user in users
    ]
    return write(tmp_path / "fortnight.jsonl", rows)


def test_nothing_of_a_held_out_person_and_of_the_last_four_days_may_train(tmp_path: Path) -> None:
    users = [f"u{i}" for i in range(12)]
    path = fortnight(tmp_path, users)
    seen = outline(path)
    people = load_people(path, seen, users)
    assert {user for user in users if is_held_out(user)}, "the names must cover both sides"
    for user, person in people.items():
        assert len(person.training) + len(person.scoring) == 14 * 24 + 1
        if is_held_out(user):
            assert not person.training
        else:
            assert person.training
            assert all(line.time < seen.last - 4 * 86_400 for line in person.training)
            assert not {line.conversation for line in person.training} & {line.conversation for line in person.scoring}


@pytest.mark.parametrize("count", [0, 3, 10, 17])
def test_slices_hold_every_line_once_and_differ_by_one_at_most(count: int) -> None:
    lines = [ReplayLine("u", "c", START, "x", number=number) for number in range(count)]
    parts = cut(lines, 5)
    assert [line for part in parts for line in part] == lines
    assert len(parts) == 5
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_fleet_is_the_same_for_everyone_who_knows_the_seed_and_holds_nobody_held_out(tmp_path: Path) -> None:
    users = [f"u{i}" for i in range(30)]
    seen = outline(fortnight(tmp_path, users))
    assert seen.choose(5, seed=1) == seen.choose(5, seed=1) != seen.choose(5, seed=2)
    assert not any(is_held_out(user) for user in seen.choose(20, seed=3))
    with pytest.raises(ReplayError, match="people who may train"):
        seen.choose(31, seed=1)


def test_a_replay_too_short_to_hold_days_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="four days"):
        outline(write(tmp_path / "r.jsonl", [row(0), row(60)]))
    with pytest.raises(ReplayError, match="no lines"):
        outline(write(tmp_path / "empty.jsonl", []))
