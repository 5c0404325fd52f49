"""The one command, for real: processes, HTTP, secure sums, a new model in every keyboard, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import keyboard_app

DEMO = (sys.executable, "-m", "keyboard_app.cli", "demo", "--no-window", "--typing", "line")
DEMO_S, PATIENCE_S = 500.0, 120.0
"""For what takes half a minute, and a few seconds, where nothing else runs."""


def environment() -> dict[str, str]:
    """A wide terminal, and this checkout wherever the command runs."""
    root = Path(keyboard_app.__file__).parents[1]
    return {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(root)}


@pytest.mark.xdist_group("end_to_end")
def test_a_small_demo_prints_the_table_and_brings_every_keyboard_to_the_new_version(tmp_path: Path) -> None:
    kept = tmp_path / "run"
    ran = subprocess.run(
        [*DEMO, "--devices", "8", "--rounds", "2", "--dropout", "0", "--exit", "--json", "--keep", str(kept)],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        env=environment(),
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    made = [row for row in result["rounds"] if row["version"]]  # on a busy machine an attempt may have fallen short
    assert [row["version"] for row in made] == [1, 2]
    assert all(row["participants"] >= 4 for row in made)
    assert all(row["bytes_up_per_device"] > 1_000 for row in made)
    assert (result["keyboards"], result["keyboards_on_last_version"]) == (8, 8)
    assert result["evaluation"]["overall"]["last"]["ctr"] > 0
    assert result["succeeded"]
    for column in ("round", "version", "devices in", "dropouts", "CTR before", "CTR after", "kB up/device"):
        assert column in ran.stderr
    assert "8 of 8 keyboards on version 2." in ran.stderr
    assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+/", ran.stderr)
    assert (kept / "coordinator.sqlite").exists()
    assert not left_behind(kept)


@pytest.mark.xdist_group("end_to_end")
def test_devices_that_die_in_rounds_come_back_and_get_the_new_version_all_the_same() -> None:
    options = ["--devices", "12", "--rounds", "2", "--dropout", "0.3", "--seed", "1", "--exit", "--json"]
    ran = subprocess.run(
        [*DEMO, *options, "--no-evaluation"], capture_output=True, text=True, timeout=DEMO_S, env=environment()
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert sum(row["dropouts"] for row in result["rounds"]) > 0
    assert (result["keyboards"], result["keyboards_on_last_version"]) == (12, 12)
    assert result["folder"] is None


@pytest.mark.xdist_group("end_to_end")
def test_a_version_that_takes_three_sums_reaches_every_keyboard_in_one_night() -> None:
    options = ["--devices", "6", "--rounds", "1", "--dropout", "0", "--no-evaluation", "--exit", "--json"]
    ran = subprocess.run(
        [*DEMO, *options, "--set", "algorithm=fsvrg"],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        env=environment(),
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    opened = [row for row in result["rounds"] if row["reason"] is None]
    assert [(row["summed"], row["version"]) for row in opened] == [
        ("feature counts", None),
        ("gradient", None),
        ("descent", 1),
    ]
    assert (result["keyboards"], result["keyboards_on_last_version"]) == (6, 6)


@pytest.mark.xdist_group("end_to_end")
def test_ctrl_c_ends_every_process_of_the_demo(tmp_path: Path) -> None:
    kept = tmp_path / "run"
    running = subprocess.Popen(
        [*DEMO, "--devices", "8", "--rounds", "3", "--keep", str(kept)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        wait_until(lambda: len(left_behind(kept)) >= 3)
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 0
        wait_until(lambda: not left_behind(kept))
    finally:
        running.kill()
        running.wait()


@pytest.mark.xdist_group("end_to_end")
def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    kept = tmp_path / "run"
    running = subprocess.Popen(
        [*DEMO, "--devices", "8", "--rounds", "3", "--keep", str(kept)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        wait_until(lambda: len(left_behind(kept)) >= 3)
    finally:
        running.kill()
        running.wait()
    if sys.platform == "linux":
        wait_until(lambda: not left_behind(kept))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--replay", "nowhere.jsonl"], "check the path given with --replay"),
        (["--devices", "500"], "people who may train"),
        (["--keep", "."], "give --keep a new folder"),
        (["--typist", "nowhere.json"], "typist file"),
    ],
)
def test_what_cannot_work_is_explained_in_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    ran = subprocess.run(
        [*DEMO, "--exit", *options], capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path, env=environment()
    )
    assert ran.returncode == 1
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def left_behind(kept: Path) -> list[int]:
    """Processes of a demo: each of its children was told a path in its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if "demo" not in command and any(str(kept) in argument for argument in command):
            found.append(process.pid)
    return found


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
