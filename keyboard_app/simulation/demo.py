"""A whole federation on one machine: authority, coordinator, a fleet of typing devices, and a keyboard window.

The demo starts everything as processes of their own and meets them where a device or an operator would: on files they
were told to write, over HTTP, and on the fleet's progress lines. It never imports the coordinator. However it ends, all
of its processes end with it.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from keyboard_app.simulation import progress
from keyboard_app.simulation.coordinator_reports import CoordinatorReports, ReportError, RoundRow, StatusRow
from keyboard_app.simulation.demo_programs import START_TIMEOUT_S, WORKERS, DemoPrograms, can_open_window
from keyboard_app.simulation.demo_state import DemoResult, DemoSetting, DemoState, RoundResult, View, describe
from keyboard_app.simulation.evaluation import EvaluationSetting, ModelUnderTest, evaluate
from keyboard_app.simulation.processes import Child, ChildError, Children
from keyboard_app.simulation.replay import ReplayError
from keyboard_app.simulation.splits import outline
from keyboard_app.simulation.typist import TypistError, load_typist_setting
from suggestion_model.errors import SuggestionModelError

POLL_S = 0.2


class DemoError(RuntimeError):
    """The demo cannot go on; the message says what to do."""


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
            programs = DemoPrograms(setting, self._folder, self._children)
            self._say("making an INSECURE DEMO authority and device certificates")
            identities = programs.enrol(setting.devices + windows)
            release_keys = programs.make_release_keys(identities)
            self._say("starting the coordinator")
            reports = CoordinatorReports(programs.start_coordinator(setting.devices + windows, release_keys))
            reports.wait_until_ready(START_TIMEOUT_S, self._check)
            state.dashboard = reports.url + "/"
            self._say(f"starting {setting.devices} keyboards")
            fleets = programs.start_fleets(reports.url, identities)
            for fleet in fleets:
                self._readers.append(threading.Thread(target=self._read, args=(fleet,), name=fleet.name, daemon=True))
                self._readers[-1].start()
            if windows:
                self._window, self._window_home = programs.open_window(reports.url, identities)
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
            summed=(row.summed or "").replace("_", " "),
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
