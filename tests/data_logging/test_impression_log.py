"""What the local log stores, counts, shows and deletes."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_logging import Impression, ImpressionLog, Outcome, UnknownRowError, UsageCount
from tests.clocks import SettableClock

Make = Callable[..., Impression]
DAY_S = 86_400.0


def _bytes_on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file())


def test_an_impression_comes_back_as_it_went_in(log: ImpressionLog, impression: Make) -> None:
    row = log.record(impression())
    (logged,) = log.impressions()
    assert logged.id == row
    assert logged.impression == impression()
    assert logged.outcome is Outcome.PENDING
    assert logged.resolved_at is None
    assert logged.reported_round is None


def test_a_later_outcome_is_kept_with_its_time(log: ImpressionLog, impression: Make, clock: SettableClock) -> None:
    row = log.record(impression())
    assert row is not None
    clock.now += 4.5
    log.resolve(row, Outcome.TAPPED)
    (logged,) = log.impressions()
    assert logged.outcome is Outcome.TAPPED
    assert logged.resolved_at == clock.now
    with pytest.raises(UnknownRowError):
        log.resolve(row + 1, Outcome.TAPPED)


def test_text_is_redacted_before_it_reaches_the_file(log: ImpressionLog, impression: Make, tmp_path: Path) -> None:
    log.record(impression(context="hi\nmy card is 4111 1111 1111 1111", candidate="call 555 010 0199"))
    (logged,) = log.impressions()
    assert logged.impression.context == "hi\nmy card is ⟨number⟩"
    assert logged.impression.candidate == "call ⟨number⟩"
    assert b"4111" not in _bytes_on_disk(tmp_path)


def test_rows_can_be_chosen_by_time_outcome_and_number(log: ImpressionLog, impression: Make) -> None:
    for number, outcome in enumerate((Outcome.TAPPED, Outcome.IGNORED, Outcome.WITHHELD, Outcome.TAPPED)):
        log.record(impression(created_at=1.8e9 + number), outcome)
    assert [row.id for row in log.impressions(outcomes={Outcome.TAPPED})] == [1, 4]
    assert [row.id for row in log.impressions(since=1.8e9 + 2)] == [3, 4]
    assert [row.id for row in log.impressions(newest_first=True, limit=2)] == [4, 3]


def test_the_log_survives_a_restart(log: ImpressionLog, impression: Make, log_path: Path, clock: SettableClock) -> None:
    log.finish_line("treatment", 3, impression(), Outcome.IGNORED)
    log.close()
    again = ImpressionLog(log_path, clock)
    assert again.impressions()[0].impression == impression()
    assert again.usage_unreported() == [UsageCount("treatment", 3, 1, 1, 0)]


# -- counting ------------------------------------------------------------------------------------------------------


def test_usage_is_counted_by_arm_and_version(log: ImpressionLog, impression: Make) -> None:
    log.finish_line("treatment", 3, impression(), Outcome.TAPPED)
    log.finish_line("treatment", 3, impression(), Outcome.IGNORED)
    log.finish_line("treatment", 3, impression(shown=False), Outcome.WITHHELD)
    log.finish_line("treatment", 4, impression(model_version=4), Outcome.DISMISSED)
    log.count_line("holdback", 0)
    log.count_line("treatment", 4)
    assert log.usage_unreported() == [
        UsageCount("holdback", 0, 1, 0, 0),
        UsageCount("treatment", 3, 3, 2, 1),
        UsageCount("treatment", 4, 2, 1, 0),
    ]


def test_what_is_typed_during_a_round_waits_for_the_next(log: ImpressionLog, impression: Make) -> None:
    log.finish_line("treatment", 3, impression(), Outcome.TAPPED)
    assert log.usage_unreported("round-1") == [UsageCount("treatment", 3, 1, 1, 1)]
    log.finish_line("treatment", 3, impression(), Outcome.IGNORED)
    assert len(log.impressions(claimed_by="round-1")) == 1
    log.mark_reported("round-1")
    assert log.usage_unreported() == [UsageCount("treatment", 3, 1, 1, 0)]
    assert [row.reported_round for row in log.impressions()] == ["round-1", None]


def test_an_abandoned_round_loses_no_count(log: ImpressionLog, impression: Make) -> None:
    log.finish_line("treatment", 3, impression(), Outcome.TAPPED)
    log.usage_unreported("abandoned")
    log.count_line("treatment", 3)
    assert log.usage_unreported("next") == [UsageCount("treatment", 3, 2, 1, 1)]
    log.mark_reported("next")
    assert log.usage_unreported() == []
    log.mark_reported("next")
    assert log.usage_unreported() == []


def test_pending_impressions_are_counted_once_they_are_resolved(log: ImpressionLog, impression: Make) -> None:
    row = log.record(impression())
    assert row is not None
    assert log.usage_unreported("first") == []
    log.mark_reported("first")
    log.resolve(row, Outcome.TAPPED)
    assert log.usage_unreported() == [UsageCount("treatment", 3, 0, 1, 1)]


_STEP = st.sampled_from(["tap", "ignore", "withhold", "line", "report", "abandon"])


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(_STEP, max_size=40))
def test_every_line_and_impression_is_reported_exactly_once(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = ImpressionLog(tmp_path_factory.mktemp("log") / "log.sqlite", lambda: 1.8e9)
    standard = Impression(1.8e9, "c", "x", "q", "k", 1.0, (), 0.0, 0, True, False, 1.0, 1, "treatment")
    withheld = Impression(1.8e9, "c", "x", "q", "k", 1.0, (), 0.0, 0, False, False, 1.0, 1, "treatment")
    reported = [0, 0, 0]
    for number, step in enumerate([*steps, "report"]):
        if step == "tap":
            log.finish_line("treatment", 1, standard, Outcome.TAPPED)
        elif step == "ignore":
            log.finish_line("treatment", 1, standard, Outcome.IGNORED)
        elif step == "withhold":
            log.finish_line("treatment", 1, withheld, Outcome.WITHHELD)
        elif step == "line":
            log.count_line("treatment", 1)
        else:
            usage = log.usage_unreported(f"round-{number}")
            log.count_line("holdback", 0)  # typed while the round runs
            if step == "report":
                log.mark_reported(f"round-{number}")
                for count in usage:
                    reported[0] += count.lines
                    reported[1] += count.offers
                    reported[2] += count.clicks
    waiting = log.usage_unreported()
    log.close()
    rounds = sum(step in ("report", "abandon") for step in steps) + 1
    lines = sum(step in ("tap", "ignore", "withhold", "line") for step in steps) + rounds
    assert reported[0] + sum(count.lines for count in waiting) == lines
    assert sum(count.lines for count in waiting) == 1  # the last one typed
    assert reported[1] == sum(step in ("tap", "ignore") for step in steps)
    assert reported[2] == steps.count("tap")


def test_many_threads_may_write_and_count_at_once(log: ImpressionLog, impression: Make) -> None:
    reported: list[int] = []

    def work(worker: int) -> None:
        for _ in range(25):
            log.finish_line("treatment", 3, impression(), Outcome.TAPPED)

    def count() -> None:
        for number in range(10):
            reported.append(sum(c.lines for c in log.usage_unreported(f"r{number}")))
            log.mark_reported(f"r{number}")

    counting = threading.Thread(target=count)
    counting.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    counting.join()
    reported.append(sum(c.lines for c in log.usage_unreported("last")))
    assert sum(reported) == 200
    assert len(log.impressions()) == 200


# -- the person's hand ---------------------------------------------------------------------------------------------


def test_one_deleted_row_is_gone_from_the_disk(log: ImpressionLog, impression: Make, tmp_path: Path) -> None:
    for number in range(50):
        log.record(impression(context=f"line zebrafish{number:03d} " + "x" * 300), Outcome.IGNORED)
    assert b"zebrafish017" in _bytes_on_disk(tmp_path)
    log.delete(18)
    assert b"zebrafish017" not in _bytes_on_disk(tmp_path)
    assert b"zebrafish018" in _bytes_on_disk(tmp_path)
    assert len(log.impressions()) == 49
    assert log.deletions == 1
    with pytest.raises(UnknownRowError):
        log.delete(18)


def test_erasing_leaves_no_byte_of_what_was_typed(log: ImpressionLog, impression: Make, tmp_path: Path) -> None:
    (tmp_path / "log.sqlite.corrupt-1").write_bytes(b"old zebrafish")
    for number in range(300):
        log.finish_line("treatment", 3, impression(context=f"zebrafish{number} " + "y" * 700), Outcome.IGNORED)
    with ThreadPoolExecutor(2) as pool:  # connections of other threads stay open
        list(pool.map(lambda _: log.impressions(limit=1), range(4)))
        assert log.erase() == 300
    assert b"zebrafish" not in _bytes_on_disk(tmp_path)
    assert log.impressions() == []
    assert log.usage_unreported() == []
    assert log.summary().lines == 0


def test_ids_are_never_used_again(log: ImpressionLog, impression: Make) -> None:
    first = log.record(impression())
    log.erase()
    assert first is not None
    assert log.record(impression()) == first + 1


def test_entries_expire(log: ImpressionLog, impression: Make, clock: SettableClock, tmp_path: Path) -> None:
    log.finish_line("treatment", 3, impression(context="zebrafish"), Outcome.IGNORED)
    clock.now += 59 * DAY_S
    assert log.expire() == 0
    clock.now += 2 * DAY_S
    assert log.expire() == 1
    assert b"zebrafish" not in _bytes_on_disk(tmp_path)
    assert log.usage_unreported() == []


def test_a_log_that_stays_open_expires_by_itself(log: ImpressionLog, impression: Make, clock: SettableClock) -> None:
    log.finish_line("treatment", 3, impression(context="zebrafish"), Outcome.IGNORED)
    clock.now += 61 * DAY_S
    log.finish_line("treatment", 3, impression(created_at=clock.now), Outcome.IGNORED)
    assert [row.impression.created_at for row in log.impressions()] == [clock.now]
    assert log.usage_unreported() == [UsageCount("treatment", 3, 1, 1, 0)]


def test_whoever_holds_frames_of_the_log_holds_up_nothing(
    log_path: Path, impression: Make, clock: SettableClock, tmp_path: Path
) -> None:
    """Profilers and debuggers do, and with a frame its cursor: a statement that is not over blocks a commit."""
    frames = []

    def keep(frame: FrameType, event: str, _argument: object) -> None:
        if event == "return" and frame.f_code.co_name == "execute":
            frames.append(frame)

    sys.setprofile(keep)
    try:
        log = ImpressionLog(log_path, clock, timeout_s=0.01)
        log.record(impression(context="zebrafish one"), Outcome.IGNORED)
        log.record(impression(context="zebrafish two"), Outcome.IGNORED)
        assert (log.summary().impressions, len(log.impressions())) == (2, 2)
        log.delete(1)
        assert log.erase() == 1
        log.close()
    finally:
        sys.setprofile(None)
    assert len(frames) > 10
    assert b"zebrafish" not in _bytes_on_disk(tmp_path)


def test_opening_expires_what_is_old(
    log: ImpressionLog, impression: Make, log_path: Path, clock: SettableClock
) -> None:
    log.record(impression())
    log.close()
    clock.now += 61 * DAY_S
    assert ImpressionLog(log_path, clock).impressions() == []


def test_a_person_can_opt_out_and_in(log: ImpressionLog, impression: Make, log_path: Path) -> None:
    log.set_enabled(False)
    assert log.record(impression()) is None
    assert log.finish_line("treatment", 3, impression(), Outcome.TAPPED) is None
    assert ImpressionLog(log_path, log.clock).enabled is False
    assert log.impressions() == []
    assert log.usage_unreported() == []
    log.set_enabled(True)
    assert log.record(impression()) is not None


def test_the_export_holds_everything_and_is_json(log: ImpressionLog, impression: Make) -> None:
    log.finish_line("treatment", 3, impression(), Outcome.TAPPED)
    log.count_line("holdback", 0)
    content = json.loads(json.dumps(log.export()))
    (row,) = content["impressions"]
    assert row["candidate"] == "thai restaurants in oakland"
    assert row["outcome"] == "tapped"
    assert row["features"] == [0.8, -1.5, 0.1]
    assert {(tally["arm"], tally["lines"]) for tally in content["line_tallies"]} == {("treatment", 1), ("holdback", 1)}


def test_the_summary_tells_how_much_and_since_when(log: ImpressionLog, impression: Make) -> None:
    empty = log.summary()
    assert (empty.impressions, empty.oldest, empty.newest, empty.enabled) == (0, None, None, True)
    log.finish_line("treatment", 3, impression(), Outcome.TAPPED)
    log.finish_line("treatment", 3, impression(shown=False, created_at=1.8e9), Outcome.WITHHELD)
    summary = log.summary()
    assert (summary.impressions, summary.shown, summary.tapped, summary.lines) == (2, 1, 1, 2)
    assert (summary.oldest, summary.newest) == (impression().created_at, 1.8e9)
    assert summary.size_bytes > 0


def test_a_row_outside_its_bounds_is_refused_by_the_file_itself(log: ImpressionLog, log_path: Path) -> None:
    with sqlite3.connect(log_path) as other, pytest.raises(sqlite3.IntegrityError):
        other.execute(
            "INSERT INTO impressions (created_at, conversation, context, candidate, category, baseline_score, features,"
            " score, slot, shown, explored, propensity, model_version, arm, outcome)"
            " VALUES (0, '', '', '', '', 0, '[]', 0, 0, 1, 0, 0.0, 0, '', 'ignored')"
        )
