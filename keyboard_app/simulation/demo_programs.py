"""The programs of a demo, started as an operator would: authority, release keys, coordinator, fleets, a window."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from pathlib import Path

from keyboard_app.device.release_client import ROOT_FILE
from keyboard_app.simulation.demo_state import DemoSetting
from keyboard_app.simulation.processes import Child, Children, run_to_end, wait_for_file

WORKERS = 2
"""Fleet processes; one for each core of the smallest machine this should run on."""
OVERSELECT = 2.0
"""A round begins when no further device has joined for a moment and at least this part of them all has; some may have
typed nothing yet."""
FLOOR = 4
"""Smallest sum that is ever opened in a demo; real devices ask for more."""
START_TIMEOUT_S = 60.0


class DemoPrograms:
    """Starts them with everything they write inside ``folder``; ``children`` ends them.

    Raises:
        ChildError: from every method, when a program fails.
    """

    def __init__(self, setting: DemoSetting, folder: Path, children: Children) -> None:
        self._setting = setting
        self._folder = folder
        self._children = children

    def enrol(self, count: int) -> Path:
        """An INSECURE DEMO authority and so many device homes with its certificates; returns the homes' folder."""
        authority, identities = self._folder / "authority", self._folder / "devices"
        command = (sys.executable, "-m", "coordinator.authority.cli")
        log = self._log("authority")
        run_to_end("the authority", [*command, "init", str(authority), "--insecure-demo"], log)
        issue = [*command, "issue", str(authority), "--count", str(count), "--out", str(identities)]
        run_to_end("the authority", issue, log)
        return identities

    def make_release_keys(self, identities: Path) -> Path:
        """Keys of The Update Framework; every device pins the root, so nobody ranks with a model it did not sign."""
        keys = self._folder / "release-keys"
        command = (sys.executable, "-m", "coordinator.cli", "keys", "make", "--insecure-demo")
        folders = ["--offline", str(keys / "offline"), "--online", str(keys / "online")]
        run_to_end("the release keys", [*command, *folders], self._log("release-keys"))
        root = (keys / "online" / "metadata" / "1.root.json").read_bytes()
        for home in identities.glob("device-*"):
            (home / ROOT_FILE).write_bytes(root)
        return keys / "online"

    def start_coordinator(self, devices: int, release_keys: Path) -> str:
        """Serve rounds for so many devices; returns the address, at which it may not answer yet."""
        port_file = self._folder / "coordinator.port"
        command = [sys.executable, "-m", "coordinator.cli", "serve", "--port", str(self._setting.port)]
        command += ["--port-file", str(port_file), "--database", str(self._folder / "coordinator.sqlite")]
        command += ["--authority-public-key", str(self._folder / "authority" / "public.key")]
        command += ["--set", f"releases.keys={release_keys}"]
        for assignment in (*coordinator_settings(devices, self._setting.rounds), *self._setting.coordinator_settings):
            command += ["--set", assignment]
        child = self._children.start("the coordinator", command, self._log("coordinator"))
        port = wait_for_file(port_file, child, START_TIMEOUT_S)
        return f"http://127.0.0.1:{port}"

    def start_fleets(self, coordinator_url: str, identities: Path) -> list[Child]:
        """One process of devices a core; their progress comes out of their standard output."""
        setting = self._setting
        url = coordinator_url if setting.through is None else setting.through(coordinator_url)
        command = [sys.executable, "-m", "keyboard_app.cli", "fleet", "--coordinator", url]
        command += ["--identities", str(identities), "--replay", str(setting.replay), "--typing", setting.mode]
        command += ["--devices", str(setting.devices), "--rounds", str(setting.rounds), "--seed", str(setting.seed)]
        command += ["--dropout", str(setting.dropout), "--policy-floor", str(FLOOR), "--in-step"]
        command += ["--catalog", str(setting.catalog)] if setting.catalog is not None else []
        command += ["--typist", str(setting.typist)] if setting.typist is not None else []
        workers = min(WORKERS, setting.devices)
        fleets = []
        for shard in range(1, workers + 1):
            name = f"fleet {shard} of {workers}"
            fleets.append(
                self._children.start(
                    name, [*command, "--shard", f"{shard}/{workers}"], self._log(f"fleet-{shard}"), pipe=True
                )
            )
        return fleets

    def open_window(self, coordinator_url: str, identities: Path) -> tuple[Child, Path]:
        """A keyboard that a person types on, and its home."""
        home = sorted(identities.glob("device-*"))[-1]
        command = [
            sys.executable,
            "-m",
            "keyboard_app.cli",
            "run",
            "--home",
            str(home),
            "--coordinator",
            coordinator_url,
        ]
        command += ["--insecure-demo", "--policy-floor", str(FLOOR)]
        command += ["--catalog", str(self._setting.catalog)] if self._setting.catalog is not None else []
        return self._children.start("the keyboard window", command, self._log("window")), home

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"


def coordinator_settings(devices: int, rounds: int) -> tuple[str, ...]:
    """Settings with which rounds of so many devices follow each other quickly, as ``NAME=VALUE``.

    Everybody fits into the cohort, and phases that wait for devices which vanished end soon.
    """
    goal = max(FLOOR, math.ceil(devices / OVERSELECT))
    # A device that is asked back after one phase's deadline must not have missed the next phase by then.
    phase_s = 3.0 + 0.05 * devices
    values = {
        "rounds.goal_count": goal,
        "rounds.minimum_count": FLOOR,
        "rounds.smallest_aggregate": FLOOR,
        "rounds.overselect": OVERSELECT,
        "rounds.max_rounds": rounds,
        "rounds.pause_s": 0.0,
        "rounds.settle_s": 1.0,
        "deadlines.selecting_s": 60.0,
        "deadlines.advertise_s": 3.0 + 0.08 * devices,
        "deadlines.share_s": phase_s,
        "deadlines.masked_input_s": phase_s,
        "deadlines.confirm_s": phase_s,
        "deadlines.unmask_s": phase_s,
        "pace.longest_s": 2.0,
        "operators.public_reports": "true",
    }
    return tuple(f"{name}={value}" for name, value in values.items())


def can_open_window() -> bool:
    """Whether there is a display, and Kivy to draw on it."""
    display = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return display and importlib.util.find_spec("kivy") is not None
