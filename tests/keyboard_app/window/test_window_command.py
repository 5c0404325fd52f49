"""Claims about ``keyboard-app run``, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from keyboard_app.window.commands import run

pytestmark = pytest.mark.xdist_group("window")


def _start(*arguments: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "keyboard_app.cli", "run", *arguments],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_starts_without_a_coordinator_draws_and_ends(tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "window.png"
    canary = "zyzzyva canary 4711"
    done = _start(
        "--home", str(tmp_path / "home"), "--theme", "dark", "--size", "360x640", "--type", canary,
        "--exit-after", "1", "--screenshot", str(picture),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 8_000, "an empty picture would be smaller"
    output = done.stdout + done.stderr
    assert "canary" not in output
    assert "4711" not in output
    assert "Traceback" not in output
    assert "xclip" not in output
    assert not list((tmp_path / "home").rglob("*.txt")), "Kivy keeps no log files"


def test_a_coordinator_that_is_not_there_does_not_matter(tmp_path: Path) -> None:
    done = _start(
        "--home", str(tmp_path / "home"), "--coordinator", "http://127.0.0.1:9", "--exit-after", "0.5"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "10x10"], "at least 320x520"),
        (["--size", "big"], "420x800"),
        (["--token", "t"], "belong together"),
        (["--screenshot", "x.png"], "--exit-after"),
        (["--search-url", "nowhere", "--exit-after", "1"], "search address"),
        (["--coordinator", "nowhere", "--exit-after", "1"], "http"),
    ],
)
def test_a_wrong_option_is_answered_with_what_to_do(tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(run, ["--home", str(tmp_path / "home"), *arguments])
    assert outcome.exit_code != 0
    assert message in outcome.output
    assert "Traceback" not in outcome.output


def test_a_broken_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("nonsense\n")
    outcome = CliRunner().invoke(
        run, ["--home", str(tmp_path / "home"), "--catalog", str(tmp_path / "mine.csv"), "--exit-after", "1"]
    )
    assert outcome.exit_code == 1
    assert "mine.csv" in outcome.output


def test_without_a_display_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    outcome = CliRunner().invoke(run, ["--home", str(tmp_path / "home")])
    assert outcome.exit_code == 1
    assert "DISPLAY" in outcome.output


def test_the_command_and_its_help_import_no_kivy() -> None:
    code = "import sys, keyboard_app.window.commands; sys.exit('kivy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
