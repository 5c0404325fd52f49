"""A federation of real processes that can be hurt: coordinators over HTTP, devices, a database that is looked into.

A device's contribution to the counter "examples" is a power of two of its own, so the opened sum names every device
that is in it, each once: a sum that is not exact cannot pass for one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from benchmarks._device_process import FleetSetting, make_device
from benchmarks._loopback import lasting_port
from coordinator.rounds.states import RoundState
from coordinator.settings import CodecTarget, DeadlineSettings, PaceSettings, RoundSettings, Settings
from coordinator.storage import Database, message_store, round_store
from coordinator.storage.tables import metric_sums, models
from federated_protocol.enrolment import issue
from federated_protocol.messages import AbandonReason, Phase
from federated_protocol.signing import Identity
from keyboard_app.device.identity import DeviceIdentity

ROOT = Path(__file__).parents[2]
DIMENSION = 24
PATIENCE_S = 120.0
"""For what takes a few seconds where nothing else runs."""


class Nursery:
    """The program that forks the others."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def fork(self, **wish: Any) -> int:
        """Start what is wished for; returns its process id, which is its group's too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)


@dataclass
class Served:
    """One coordinator's processes."""

    port_file: Path
    log: Path
    group: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port_file.read_text().strip()}"

    @property
    def alive(self) -> bool:
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """As the machine does that runs out of memory: at once, all of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        wait_until(lambda: not self.alive)

    def workers(self) -> list[int]:
        """Process ids of the group."""
        stats = (Path(entry.path, "stat") for entry in os.scandir("/proc") if entry.name.isdecimal())
        found = []
        for stat in stats:
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    found.append(int(stat.parent.name))
        return found


def wait_until(holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Look again every few milliseconds; what never happens is a failure."""
    until = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.01)


@dataclass
class Federation:
    """Devices in this process, coordinators in theirs."""

    folder: Path
    settings: Settings
    nursery: Nursery
    authority: Identity
    count: int
    served: list[Served] = field(default_factory=list)
    devices: list[Any] = field(default_factory=list)
    transports: list[Any] = field(default_factory=list)
    forked: list[int] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    _due: list[float] = field(default_factory=list)

    def start(self, name: str = "one", dies: str | None = None, threads: int = 16, read_s: float = 20.0) -> Served:
        """Start a coordinator, or start one again under its old name and port."""
        port = self.ports.setdefault(name, lasting_port())
        port_file, log = self.folder / f"{name}.port", self.folder / f"{name}.log"
        ready = log.stat().st_size if log.exists() else 0
        settings = msgspec.to_builtins(self.settings)
        group = self.nursery.fork(
            coordinator=settings,
            port=port,
            port_file=str(port_file),
            log=str(log),
            dies=dies,
            threads=threads,
            read_s=read_s,
        )
        wait_until(lambda: log.exists() and "listening on" in log.read_text()[ready:])
        made = Served(port_file, log, group)
        self.served.append(made)
        return made

    def enrol(self) -> None:
        """Make the devices' homes."""
        now = time.time()
        for number in range(self.count):
            home = self.folder / f"device-{number}"
            home.mkdir()
            identity = DeviceIdentity.open(home)
            dates = {"not_before": now - 7200, "not_after": now + 86400}
            identity.install(issue(self.authority, identity.public_key, authority_name="test", **dates).encode())

    def switch_on(self, url: str, numbers: list[int] | None = None) -> None:
        """Devices in this process, which take part in rounds whenever they are stepped."""
        setting = FleetSetting(0, max(2, self.count), DIMENSION, {}, 600.0, distinct=True)
        for number in range(self.count) if numbers is None else numbers:
            device, transport = make_device(self.folder, url, number, setting)
            self.devices.append(device)
            self.transports.append(transport)
            self._due.append(0.0)

    def fork_devices(self, url: str, numbers: list[int]) -> int:
        """Devices in a process of their own, which live on by themselves; returns its group."""
        group = self.nursery.fork(
            devices=str(self.folder),
            url=url,
            first=numbers[0],
            count=len(numbers),
            log=str(self.folder / "devices.log"),
        )
        self.forked.append(group)
        return group

    def set_clock(self, device: Any, clock: Callable[[], float]) -> None:
        """Give a device another idea of the time."""
        attendance = device._attendance
        attendance.equipment = dataclasses.replace(attendance.equipment, clock=clock)

    def step_until(self, holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Let devices do what they want to do, one step at a time, until something holds."""
        until = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < until, f"did not happen; rounds: {self.story()}"
            index = min(range(len(self.devices)), key=self._due.__getitem__)
            if (pause := self._due[index] - time.monotonic()) > 0:
                time.sleep(min(pause, 0.02))
            else:
                self._due[index] = time.monotonic() + self.devices[index].step()

    def step_in_thread(self, device: Any, meanwhile: Callable[[], Any]) -> None:
        """Let a device begin a step whose request waits, do something, and let the step end."""
        thread = threading.Thread(target=device.step)
        thread.start()
        thread.join(0.2)
        meanwhile()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()

    # -- what the database says ----------------------------------------------------------------------------------

    def database(self) -> Database:
        if not hasattr(self, "_database"):
            self._database = Database(self.settings.database_url)
        return self._database

    def forget_database(self) -> None:
        """Look through new connections from now on."""
        self.database().close()
        del self._database

    def rounds(self) -> list[round_store.Round]:
        """Every round, oldest first."""
        with self.database().reading() as connection:
            return round_store.newest_rounds(connection, self.settings.task, 100)[::-1]

    def story(self) -> list[tuple[int, str, str | None]]:
        return [(row.number, row.state.value, row.reason) for row in self.rounds()]

    def stands_in(self, state: RoundState, phase: Phase | None = None, answers: int = 0) -> bool:
        """Whether the running round is in ``state`` with so many messages of ``phase`` there."""
        with self.database().reading() as connection:
            row = round_store.running_round(connection, self.settings.task)
            if row is None or row.state is not state:
                return False
            if phase is None:
                return row.still_in >= answers
            return message_store.count_messages(connection, row.id, phase) >= answers

    def published(self) -> int:
        return sum(row.state is RoundState.PUBLISHED for row in self.rounds())

    def abandoned(self) -> list[str]:
        return [row.reason.value for row in self.rounds() if row.state is RoundState.ABANDONED and row.reason]

    def first_round_held(self) -> bool:
        """Whether the round that was disturbed is published; rounds after it may have found nobody free in time."""
        first, *later = self.rounds()
        ends = {row.reason for row in later if row.state is RoundState.ABANDONED}
        return first.state is RoundState.PUBLISHED and ends <= {AbandonReason.TOO_FEW_SELECTED}

    def everybody_was_in(self) -> bool:
        """Whether every device saw a round through to its end."""
        return all(device.status.rounds_joined for device in self.devices)

    def check_books(self) -> None:
        """Sums are exact, whatever ended has an end, and no version is lost or there twice."""
        rounds = self.rounds()
        with self.database().reading() as connection:
            versions = connection.execute(
                select(models.c.version, models.c.parent, models.c.round_id).order_by(models.c.version)
            ).all()
            sums = {
                row.round_id: row.value
                for row in connection.execute(select(metric_sums).where(metric_sums.c.name == "examples"))
            }
        for row in rounds:
            if row.state is RoundState.ABANDONED:
                assert row.reason is not None
                assert row.published_version is None
            if row.state is RoundState.PUBLISHED:
                assert sums[row.id].bit_count() == row.inputs, "each device is in the sum exactly once"
                assert sums[row.id] < 1 << self.count
        published = [row for row in rounds if row.state is RoundState.PUBLISHED]
        assert [(0, None), *((row.published_version, row.id) for row in published)] == [
            (version, round_id) for version, _, round_id in versions
        ]
        assert [version for version, _, _ in versions] == list(range(len(versions)))
        assert all(parent == max(0, version - 1) for version, parent, _ in versions)

    def close(self) -> None:
        for group in (*(served.group for served in self.served), *self.forked):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for device in self.devices:
            device.stop()
        if hasattr(self, "_database"):
            self._database.close()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def federate(tmp_path: Path, nursery: Nursery) -> Iterator[Callable[..., Federation]]:
    """Make a federation: ``federate(devices=6, database_url=..., rounds={...})``; nothing runs yet."""
    made: list[Federation] = []

    def make(devices: int = 6, database_url: str | None = None, **changes: Any) -> Federation:
        authority = Identity.generate()
        groups = {
            "rounds": RoundSettings(
                goal_count=devices, minimum_count=4, overselect=1.0, smallest_aggregate=4, pause_s=0.1, settle_s=0.3
            ),
            "deadlines": DeadlineSettings(
                selecting_s=20.0, advertise_s=20.0, share_s=20.0, masked_input_s=20.0, confirm_s=20.0, unmask_s=20.0
            ),
            "pace": PaceSettings(shortest_s=0.1, longest_s=0.5),
            "codec": CodecTarget(largest_count=1024),
        }
        for name, change in changes.items():
            groups[name] = msgspec.structs.replace(groups[name], **change)
        settings = Settings(
            authority_public_key=authority.public_key.hex(),
            database_url=database_url or f"sqlite:///{tmp_path / 'coordinator.sqlite'}",
            **groups,
        )
        made.append(Federation(tmp_path, settings, nursery, authority, devices))
        made[-1].enrol()
        return made[-1]

    yield make
    for federation in made:
        federation.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite in the test's folder."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
