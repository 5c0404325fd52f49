"""A whole federation on one machine: authority, coordinator, a fleet of typing devices, and a keyboard window.

The demo starts everything as processes of their own and meets them where a device or an operator would: on files they
were told to write, over HTTP, and on the fleet's progress lines. It never imports the coordinator. However it ends, all
of its processes end with it.
"""

from __future__ import annotations

import importlib.util
import math
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from keyboard_app.device.release_client import ROOT_FILE
from keyboard_app.simulation import progress
from keyboard_app.simulation.coordinator_reports import CoordinatorReports, ReportError, RoundRow, StatusRow
from keyboard_app.simulation.evaluation import Evaluation, EvaluationSetting, ModelUnderTest, evaluate
from keyboard_app.simulation.person import TypingMode
from keyboard_app.simulation.processes import Child, ChildError, Children, run_to_end, wait_for_file
from keyboard_app.simulation.replay import ReplayError
from keyboard_app.simulation.splits import outline
from keyboard_app.simulation.typist import TypistError, load_typist_setting
from suggestion_model.errors import SuggestionModelError

WORKERS = 2
"""Fleet processes; one for each core of the smallest machine this should run on."""
OVERSELECT = 2.0
"""A round begins when no further device has joined for a moment and at least this part of them all has; some may have
typed nothing yet."""
FLOOR = 4
"""Smallest sum that is ever opened in a demo; real devices ask for more."""
POLL_S = 0.2
START_TIMEOUT_S = 60.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message says what to do."""


class Through(Protocol):
    """Stands between devices and coordinator, for tests that record what travels."""

    def __call__(self, coordinator_url: str) -> str:
        """Return the address devices shall use instead."""
        ...


@dataclass(frozen=True, slots=True)
class DemoSetting:
    """What to run."""

    replay: Path
    catalog: Path | None
    """None for the catalog that ships with the package."""
    devices: int = 24
    rounds: int = 6
    seed: int = 0
    dropout: float = 0.1
    mode: TypingMode = "line"
    typist: Path | None = None
    port: int = 0
    keep: Path | None = None
    """A new folder for everything the run writes; None for a temporary one."""
    window: bool = False
    """Open the keyboard where there is a display."""
    evaluation: bool = True
    coordinator_settings: tuple[str, ...] = ()
    """Further ``NAME=VALUE`` settings of the coordinator."""
    through: Through | None = None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One row of the table."""

    round: int
    version: int | None
    """None for a round that was abandoned."""
    reason: str | None
    participants: int
    """Devices whose update is in the sum."""
    dropouts: int
    """Devices that vanished in any phase."""
    ctr_before: float | None
    """Taps over examined offers while typing with the version the round started from."""
    ctr_after: float | None
    """The same with the version it made; of the last one, on the held-back days."""
    bytes_up_per_device: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demo went."""

    dashboard: str
    folder: Path | None
    """Where everything lies, when it is kept."""
    rounds: tuple[RoundResult, ...]
    last_version: int
    keyboards: int
    keyboards_on_last_version: int
    lines_typed: int
    seconds: float
    peak_rss_mib: float
    """Largest resident set of a fleet process."""
    evaluation: Evaluation | None
    rounds_asked_for: int

    @property
    def succeeded(self) -> bool:
        """All rounds were published and every keyboard ranks with the last version."""
        published = sum(row.version is not None for row in self.rounds)
        return published >= self.rounds_asked_for and self.keyboards == self.keyboards_on_last_version


@dataclass(slots=True)
class DemoState:
    """What is going on, for a view."""

    doing: str = "starting"
    dashboard: str | None = None
    status: StatusRow | None = None
    newest: dict[int, progress.Progress] = field(default_factory=dict)
    """By shard."""
    ready: dict[int, progress.FleetReady] = field(default_factory=dict)
    typed: list[progress.Typed] = field(default_factory=list)
    rounds_over: list[progress.RoundOver] = field(default_factory=list)
    troubles: list[progress.Trouble] = field(default_factory=list)
    done: dict[int, progress.FleetDone] = field(default_factory=dict)
    vanished: int = 0

    @property
    def lines_typed(self) -> int:
        """By all devices so far."""
        return sum(typed.lines for typed in self.typed)

    def usage(self) -> dict[int, progress.VersionTally]:
        """Lines, examined offers and taps by the version that ranked them."""
        sums: dict[int, list[int]] = {}
        for typed in self.typed:
            for version, tally in typed.by_version.items():
                found = sums.setdefault(version, [0, 0, 0])
                for at, value in enumerate((tally.lines, tally.offers, tally.clicks)):
                    found[at] += value
        return {version: progress.VersionTally(*values) for version, values in sorted(sums.items())}

    def ctr(self, version: int | None) -> float | None:
        """Taps over examined offers with this version; None before anything was offered."""
        tally = self.usage().get(version) if version is not None else None
        return tally.clicks / tally.offers if tally is not None and tally.offers else None

    def note(self, message: progress.Progress) -> None:
        """Take in one line of a fleet."""
        if isinstance(message, progress.Vanished):
            self.vanished += 1
            return
        self.newest[message.shard] = message
        if isinstance(message, progress.FleetReady):
            self.ready[message.shard] = message
        elif isinstance(message, progress.Typed):
            self.typed.append(message)
        elif isinstance(message, progress.RoundOver):
            self.rounds_over.append(message)
        elif isinstance(message, progress.Trouble):
            self.troubles.append(message)
        elif isinstance(message, progress.FleetDone):
            self.done[message.shard] = message


class View(Protocol):
    """Shows what is going on."""

    def update(self, state: DemoState) -> None:
        """Called several times a second, from one thread."""
        ...


class Demo:
    """Run it inside ``with``: leaving the block stops every process and removes the folder unless it is kept."""

    def __init__(self, setting: DemoSetting, view: View) -> None:
        self._setting = setting
        self._view = view
        self._children = Children()
        self._state = DemoState()
        self._messages: queue.Queue[progress.Progress] = queue.Queue()
        self._readers: list[threading.Thread] = []
        self._folder = Path()
        self._window: Child | None = None
        self._window_home: Path | None = None

    def __enter__(self) -> Demo:
        keep = self._setting.keep
        if keep is None:
            self._folder = Path(tempfile.mkdtemp(prefix="keyboard-demo-"))
            return self
        try:
            keep.mkdir(parents=True)
        except FileExistsError:
            raise DemoError(f"{keep} exists: give --keep a new folder") from None
        except OSError as error:
            raise DemoError(f"{keep} cannot be made ({error.strerror}): give --keep another folder") from None
        self._folder = keep.resolve()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._children.stop()
        for reader in self._readers:
            reader.join(2.0)
        if self._setting.keep is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> DemoResult:
        """Run all rounds, evaluate, and look at every keyboard.

        Raises:
            DemoError: something cannot be read, a process died, or the coordinator is gone.
        """
        started = time.monotonic()
        setting, state = self._setting, self._state
        try:
            seen = outline(setting.replay)
            chosen = seen.choose(setting.devices, setting.seed)
            typist = load_typist_setting(setting.typist, setting.seed)
            windows = 1 if setting.window and can_open_window() else 0
            identities = self._enrol(setting.devices + windows)
            release_keys = self._make_release_keys(identities)
            reports = self._start_coordinator(setting.devices + windows, release_keys)
            fleets = self._start_fleets(reports.url, identities)
            if windows:
                self._open_window(reports.url, identities)
            self._follow(fleets, reports)
            status = reports.status()
            keyboards, up_to_date = self._look_at_keyboards(status.model.version)
            evaluation = None
            if setting.evaluation:
                self._say(f"evaluating version 0 and version {status.model.version} on held-out people and days")
                question = EvaluationSetting(setting.replay, setting.catalog, typist, tuple(chosen))
                last = reports.model(status.model.version)
                evaluation = evaluate(ModelUnderTest.shipped(), last, question, WORKERS, setting.seed)
            rounds = tuple(self._row(row) for row in reports.rounds() if row.state in ("published", "abandoned"))
        except (ChildError, ReportError, ReplayError, TypistError, SuggestionModelError, OSError) as error:
            raise DemoError(str(error)) from error
        self._say("done")
        return DemoResult(
            dashboard=reports.url + "/",
            folder=self._folder if setting.keep is not None else None,
            rounds=rounds,
            last_version=status.model.version,
            keyboards=keyboards,
            keyboards_on_last_version=up_to_date,
            lines_typed=state.lines_typed,
            seconds=time.monotonic() - started,
            peak_rss_mib=max((done.rss_mib for done in state.done.values()), default=0.0),
            evaluation=evaluation,
            rounds_asked_for=setting.rounds,
        )

    def serve_on(self) -> None:
        """Keep the coordinator and the window running until Ctrl-C.

        Raises:
            DemoError: the coordinator died.
        """
        try:
            while True:
                self._check()
                time.sleep(POLL_S)
        except ChildError as error:
            raise DemoError(str(error)) from error

    # -- starting ----------------------------------------------------------------------------------------------------

    def _enrol(self, count: int) -> Path:
        self._say("making an INSECURE DEMO authority and device certificates")
        authority, identities = self._folder / "authority", self._folder / "devices"
        command = (sys.executable, "-m", "coordinator.authority.cli")
        log = self._log("authority")
        run_to_end("the authority", [*command, "init", str(authority), "--insecure-demo"], log)
        issue = [*command, "issue", str(authority), "--count", str(count), "--out", str(identities)]
        run_to_end("the authority", issue, log)
        return identities

    def _make_release_keys(self, identities: Path) -> Path:
        """Keys of The Update Framework; every device pins the root, so nobody ranks with a model it did not sign."""
        keys = self._folder / "release-keys"
        command = (sys.executable, "-m", "coordinator.cli", "keys", "make")
        folders = ["--offline", str(keys / "offline"), "--online", str(keys / "online")]
        run_to_end("the release keys", [*command, *folders], self._log("release-keys"))
        root = (keys / "online" / "metadata" / "1.root.json").read_bytes()
        for home in identities.glob("device-*"):
            (home / ROOT_FILE).write_bytes(root)
        return keys / "online"

    def _start_coordinator(self, devices: int, release_keys: Path) -> CoordinatorReports:
        self._say("starting the coordinator")
        port_file = self._folder / "coordinator.port"
        command = [sys.executable, "-m", "coordinator.cli", "serve", "--port", str(self._setting.port)]
        command += ["--port-file", str(port_file), "--database", str(self._folder / "coordinator.sqlite")]
        command += ["--authority-public-key", str(self._folder / "authority" / "public.key")]
        command += ["--set", f"releases.keys={release_keys}"]
        for assignment in (*coordinator_settings(devices, self._setting.rounds), *self._setting.coordinator_settings):
            command += ["--set", assignment]
        child = self._children.start("the coordinator", command, self._log("coordinator"))
        port = wait_for_file(port_file, child, START_TIMEOUT_S)
        reports = CoordinatorReports(f"http://127.0.0.1:{port}")
        reports.wait_until_ready(START_TIMEOUT_S, self._check)
        self._state.dashboard = reports.url + "/"
        return reports

    def _start_fleets(self, coordinator_url: str, identities: Path) -> list[Child]:
        self._say(f"starting {self._setting.devices} keyboards")
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
            reader = threading.Thread(target=self._read, args=(fleets[-1],), name=name, daemon=True)
            reader.start()
            self._readers.append(reader)
        return fleets

    def _open_window(self, coordinator_url: str, identities: Path) -> None:
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
        self._window = self._children.start("the keyboard window", command, self._log("window"))
        self._window_home = home

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    # -- following ---------------------------------------------------------------------------------------------------

    def _read(self, fleet: Child) -> None:
        assert fleet.process.stdout is not None
        for line in fleet.process.stdout:
            try:
                self._messages.put(progress.decode(line))
            except msgspec.MsgspecError:
                continue

    def _follow(self, fleets: Sequence[Child], reports: CoordinatorReports) -> None:
        """Take in progress until every fleet has said that it is done and has ended."""
        state = self._state
        asked_at, nights = 0.0, 0
        while len(state.done) < len(fleets) or any(fleet.running for fleet in fleets):
            try:
                state.note(self._messages.get(timeout=POLL_S))
                while True:
                    state.note(self._messages.get_nowait())
            except queue.Empty:
                pass
            self._check()
            nights = self._begin_night(fleets, nights)
            for fleet in fleets:
                if not fleet.running and self._messages.empty() and not self._reading(fleet):
                    self._drain()
                    if len(state.done) < len(fleets) and all(not other.running for other in fleets):
                        raise ChildError(f"{fleet.name} ended too early. The end of {fleet.log}:\n{fleet.tail()}")
            if time.monotonic() - asked_at > 2 * POLL_S:
                asked_at = time.monotonic()
                # A busy coordinator may be slow to report; whether it lives is checked above.
                with_status = _try_status(reports)
                state.status = with_status or state.status
            state.doing = describe(state)
            self._view.update(state)
        self._drain()

    def _begin_night(self, fleets: Sequence[Child], nights: int) -> int:
        """Once all fleets have typed a slice, let them learn from it together; returns the nights begun."""
        typed = sum(message.slice == nights + 1 for message in self._state.typed)
        if typed < len(fleets):
            return nights
        for fleet in fleets:
            fleet.nudge()
        return nights + 1

    def _reading(self, fleet: Child) -> bool:
        return any(reader.name == fleet.name and reader.is_alive() for reader in self._readers)

    def _drain(self) -> None:
        while not self._messages.empty():
            self._state.note(self._messages.get_nowait())

    def _check(self) -> None:
        """Raise for a child that died. A closed window is no misfortune: its person has seen enough."""
        for child in self._children:
            if child is not self._window:
                child.check()

    def _look_at_keyboards(self, version: int) -> tuple[int, int]:
        """(keyboards, those on this version), the window included while it is open."""
        versions: Counter[int] = Counter()
        for done in self._state.done.values():
            versions.update(done.versions)
        keyboards = versions.total()
        if self._window is not None and self._window.running and self._window_home is not None:
            self._say("waiting for the keyboard window to fetch the last version")
            deadline = time.monotonic() + 15.0
            while (found := _stored_version(self._window_home)) != version and time.monotonic() < deadline:
                time.sleep(POLL_S)
            keyboards += 1
            versions[found] += 1
        return keyboards, versions[version]

    def _row(self, row: RoundRow) -> RoundResult:
        published = row.published_version
        return RoundResult(
            round=row.round,
            version=published,
            reason=row.reason,
            participants=row.inputs or 0,
            dropouts=row.dropped,
            ctr_before=self._state.ctr(row.base_version),
            ctr_after=self._state.ctr(published),
            bytes_up_per_device=row.bytes_up_per_device,
            seconds=row.duration_s,
        )

    def _say(self, doing: str) -> None:
        self._state.doing = doing
        self._view.update(self._state)


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


def describe(state: DemoState) -> str:
    """What the fleet is doing, in a few words."""
    typing = [
        message for message in state.newest.values() if isinstance(message, progress.Typing | progress.FleetReady)
    ]
    joining = [message for message in state.newest.values() if isinstance(message, progress.Joining | progress.Typed)]
    running = state.status.running if state.status is not None else None
    if typing:
        return "typing"
    if joining and running is not None and running.state != "selecting":
        return f"round {running.round}: {running.state}"
    return "joining a round" if joining else state.doing


def _try_status(reports: CoordinatorReports) -> StatusRow | None:
    try:
        return reports.status()
    except ReportError:
        return None


class _IndexEntry(msgspec.Struct, frozen=True):
    version: int


class _Index(msgspec.Struct, frozen=True):
    current: _IndexEntry | None = None


def _stored_version(home: Path) -> int:
    """The newest model in a device's home directory."""
    try:
        index = msgspec.json.decode((home / "models" / "index.json").read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError):
        return 0
    return index.current.version if index.current is not None else 0
