"""``keyboard-app``: loads what it needs, and gives the log into the person's hands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_logging import Impression, ImpressionLog, Outcome
from keyboard_app.cli import COMMANDS, LOG_FILE, main

NOW = 4e9  # far ahead, so that the real clock expires nothing


@pytest.fixture
def home(tmp_path: Path) -> Path:
    log = ImpressionLog(tmp_path / LOG_FILE, lambda: NOW)
    for number, outcome in enumerate((Outcome.TAPPED, Outcome.IGNORED, Outcome.WITHHELD)):
        context = f"hello\nline {number} on zebrafish"
        shown = outcome is not Outcome.WITHHELD
        impression = Impression(
            NOW, "c", context, f"query {number}", "animals", 1.0, (0.5,), -0.2, 0, shown, False, 0.9, 2, "treatment"
        )
        log.finish_line("treatment", 2, impression, outcome)
    log.close()
    return tmp_path


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["log", "--home", str(home), *arguments])


def test_show_lists_the_newest_first(home: Path) -> None:
    shown = _run(home, "show", "--limit", "2")
    assert shown.exit_code == 0
    assert "3 impressions, 2 shown, 1 tapped, 3 lines" in shown.output
    assert shown.output.index("query 2") < shown.output.index("query 1")
    assert "query 0" not in shown.output
    assert "zebrafish" not in shown.output
    assert "| line 2 on zebrafish" in _run(home, "show", "--text").output


def test_show_as_json(home: Path) -> None:
    content = json.loads(_run(home, "show", "--json").output)
    assert content["summary"]["impressions"] == 3
    assert [row["outcome"] for row in content["impressions"]] == ["withheld", "ignored", "tapped"]


def test_delete_one_row(home: Path) -> None:
    assert _run(home, "delete", "2").exit_code == 0
    assert [row.id for row in ImpressionLog(home / LOG_FILE).impressions()] == [1, 3]
    again = _run(home, "delete", "2")
    assert again.exit_code == 1
    assert "no row 2" in again.output


def test_erase_asks_first(home: Path) -> None:
    assert CliRunner().invoke(main, ["log", "--home", str(home), "erase"], input="n\n").exit_code == 1
    assert b"zebrafish" in b"".join(file.read_bytes() for file in home.iterdir())
    assert json.loads(_run(home, "erase", "--yes", "--json").output) == {"erased": 3}
    assert b"zebrafish" not in b"".join(file.read_bytes() for file in home.iterdir())


def test_export_to_a_file_only_the_owner_can_read(home: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.json"
    assert json.loads(_run(home, "export", "--output", str(output), "--json").output)["exported"] == 3
    assert output.stat().st_mode & 0o077 == 0
    assert len(json.loads(output.read_text())["impressions"]) == 3
    printed = json.loads(_run(home, "export").output)
    assert printed["impressions"] == json.loads(output.read_text())["impressions"]


def test_logging_can_be_switched_off(home: Path) -> None:
    assert _run(home, "logging", "off").exit_code == 0
    assert "logging off" in _run(home, "show").output


def test_a_damaged_log_is_explained_and_kept(home: Path) -> None:
    (home / LOG_FILE).write_bytes(b"broken" * 500)
    result = _run(home, "show")
    assert result.exit_code == 0
    assert "corrupt-1" in result.output
    assert (home / f"{LOG_FILE}.corrupt-1").exists()


def test_no_log_is_no_traceback(tmp_path: Path) -> None:
    result = _run(tmp_path, "show")
    assert result.exit_code == 1
    assert "--home" in result.output
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command_and_imports_none() -> None:
    program = (
        "import sys, click.testing, keyboard_app.cli as cli\n"
        "print(click.testing.CliRunner().invoke(cli.main, ['--help']).output)\n"
        "print('LOADED', *sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    listed, _, loaded = output.partition("LOADED")
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert not {"kivy", "numpy", "sqlite_utils", "ai_edge_litert", "keyboard_app.device"} & set(loaded.split())


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["fly"]).exit_code == 2
