"""Coverage and recall of a catalog are counted apart, and small talk is set against real wishes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.recall import catalog_recall
from keyboard_app.simulation.replay import ReplayLine
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_index import ListedQuery
from suggestion_model.catalog.query_list import QueryList

SOURCE = QueryList.of(
    [ListedQuery(query, "trips") for query in ("trains to york", "trains to leeds", "boats to jersey", "night boats")],
    language(),
)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def replay(*said: tuple[str, str, tuple[str, ...]]) -> list[ReplayLine]:
    return [
        ReplayLine("ann", conversation, START + timedelta(minutes=n), text, wanted=wanted, number=n,
                   kind="task" if wanted else "chat")
        for n, (conversation, text, wanted) in enumerate(said)
    ]  # fmt: skip


def test_what_the_catalog_lacks_counts_against_coverage_and_not_against_recall() -> None:
    found = catalog_recall(
        replay(
            ("a", "is there a train to York", ("Trains to York",)),
            ("b", "a train to paris", ("trains to paris",)),
            ("c", "something else", ("boats to jersey",)),
            ("d", "lol", ()),
        ),
        SOURCE,
    )
    assert (found.lines, found.coverage) == (3, pytest.approx(2 / 3))
    assert (found.recall_at_8, found.top_1) == (0.5, 0.5)
    assert (found.chat_lines, found.chat_with_candidate) == (1, 0.0)
    assert found.score_auc == 1.0


def test_earlier_lines_of_the_same_conversation_are_context_and_others_are_not() -> None:
    lines = replay(("a", "any boats?", ()), ("a", "to jersey", ("boats to jersey",)), ("b", "jersey", ("night boats",)))
    assert catalog_recall(lines, SOURCE).recall_at_8 == 0.5


def test_a_query_as_good_counts_apart_from_the_very_one() -> None:
    source = QueryList.of([ListedQuery("cheap trains to york", "trips")], language())
    found = catalog_recall(replay(("a", "cheap train to york", ("trains to york",))), source)
    assert found.coverage == 0
    assert found.recall_at_8_f1_all == 1.0


def test_the_command_reports_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog, lines = tmp_path / "list.csv", tmp_path / "lines.jsonl"
    catalog.write_text("query,category\ntrains to york,trips\ntrains to leeds,trips\n")
    row = {
        "user": "ann",
        "conversation": "a",
        "timestamp": "2026-03-02T09:00:00Z",
        "text": "train to york",
        "kind": "task",
    }
    lines.write_text(json.dumps(row | {"wanted": ["trains to york"]}) + "\n")
    assert main(["recall", "--replay", str(lines), "--catalog", str(catalog), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["coverage"], results["recall_at_8"]) == (1.0, 1.0)
    assert main(["recall", "--replay", str(tmp_path / "none.jsonl")]) == 1
