"""``python -m benchmarks keystroke`` runs the real session and prints what it says it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main, names


def test_it_measures_every_key_on_the_shipped_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keystroke", "--lines", "6", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["benchmark"] == "keystroke"
    assert (results["lines"], results["correction"], results["catalog"], results["troubles"]) == (
        6,
        True,
        "shipped",
        "",
    )
    assert results["keys"] > 100
    assert 0 < results["p50_ms"] <= results["p99_ms"] <= results["max_ms"]


def test_without_json_it_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keystroke", "--lines", "2", "--no-correction"]) == 0
    assert "p99_ms" in capsys.readouterr().out


def test_benchmarks_are_listed_and_mistakes_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "keystroke" in names()
    assert main([]) == 0
    assert "time from key press to ready strip" in capsys.readouterr().out
    assert main(["flying"]) == 2
    assert "keystroke" in capsys.readouterr().err
    assert main(["keystroke", "--replay", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err
