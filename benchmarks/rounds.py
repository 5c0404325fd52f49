"""A round over real HTTP with real devices on loopback: what it costs beyond the devices' own training.

Devices run the product's client (keys, shares, masks, HTTP) in processes that are up before the clock starts; nothing
is trained. Where devices vanish, a phase waits for its deadline: that wait is reported apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import func, select

from benchmarks import BenchmarkError, Value
from benchmarks._device_process import FleetSetting
from benchmarks._loopback import ROOT, coordinator
from coordinator.rounds.states import PHASE_OF_STATE, RoundState
from coordinator.settings import CodecTarget, DeadlineSettings, PaceSettings, RoundSettings, Settings
from coordinator.storage import Database, round_store
from coordinator.storage.tables import messages
from federated_protocol.enrolment import issue
from federated_protocol.messages import Phase
from federated_protocol.plan import ThreatModel
from federated_protocol.signing import Identity
from keyboard_app.device.identity import DeviceIdentity

DESCRIPTION = "a secure round over HTTP: time, processor, memory and requests of the coordinator"
GOALS = {20: {"goal_overhead_s": 1.0}, 1000: {"goal_overhead_s": 60.0, "goal_peak_rss_mib": 300.0}}
MOST_PROCESSES = 4
LAST_ANSWERS_S = 6.0
"""After the end of the round, for devices to hear of it."""


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure one round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rounds", description=__doc__)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--dropout", type=float, default=0.0, help="share of devices that vanish, over all phases")
    parser.add_argument(
        "--stated-dropout", type=float, help="what the task is solved for; by default half as much again, at least 0.1"
    )
    parser.add_argument("--dimension", type=int, default=7300, help="weights of the model (default 7300)")
    parser.add_argument("--processes", type=int, help="device processes; by default one a device up to 20, else four")
    parser.add_argument("--deadline", type=float, default=120.0, help="longest duration of a phase, seconds")
    parser.add_argument("--database", help="URL; by default SQLite in a temporary folder")
    parser.add_argument("--timeout", type=float, default=600.0)
    options = parser.parse_args(argv)
    if not (4 <= options.devices <= 2000 and 0 <= options.dropout <= 0.3):
        parser.error("--devices lies between 4 and 2000, --dropout between 0 and 0.3")
    with tempfile.TemporaryDirectory(prefix="rounds-") as name:
        return measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Value]:
    """Run the round and read what it cost."""
    count = options.devices
    authority = Identity.generate()
    processes = options.processes or (count if count <= 20 else MOST_PROCESSES)
    stated = options.stated_dropout or min(0.3, max(0.1, 1.5 * options.dropout))
    settings = Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=options.database or f"sqlite:///{folder / 'coordinator.sqlite'}",
        rounds=RoundSettings(
            goal_count=count,
            minimum_count=max(4, int(0.6 * count)),
            overselect=1.0,
            smallest_aggregate=max(4, count // 2),
            max_rounds=1,
        ),
        deadlines=DeadlineSettings(
            selecting_s=600.0, advertise_s=options.deadline, share_s=options.deadline,
            masked_input_s=options.deadline, confirm_s=options.deadline, unmask_s=options.deadline,
        ),
        codec=CodecTarget(most_sent=0),  # every weight travels
        pace=PaceSettings(shortest_s=0.2, longest_s=5.0),
        threat=msgspec.structs.replace(ThreatModel(), dropout=stated),
    )  # fmt: skip
    doomed = _doomed(count, options.dropout)
    for number in range(count):
        identity = DeviceIdentity.open(_home(folder, number))
        now = time.time()
        certificate = issue(
            authority, identity.public_key, authority_name="benchmark", not_before=now - 3600, not_after=now + 86400
        )
        identity.install(certificate.encode())
    with coordinator(settings, folder, options.dimension) as served:
        fleet = _start_fleet(folder, served.url, processes, count, doomed, options)
        try:
            cpu_before, requests_before = served.cpu_s(), served.requests()
            begun = time.time()
            _tell(fleet, "go")
            database = Database(settings.database_url)
            _await_end(database, settings.task, begun + options.timeout)
            time.sleep(LAST_ANSWERS_S)
            _tell(fleet, "over")
            reports = [_report(process) for process in fleet]
            found = _outcome(database, settings.task, begun)
            return {
                "devices": count,
                "dropout": options.dropout,
                "stated_dropout": stated,
                "dimension": options.dimension,
                "device_processes": processes,
                **found,
                "coordinator_cpu_s": served.cpu_s() - cpu_before,
                "peak_rss_mib": served.peak_rss_mib(),
                "requests": served.requests() - requests_before,
                "device_cpu_s": sum(report["cpu_s"] for report in reports),
                "bytes_up_per_device": sum(report["bytes_up"] for report in reports) / count,
                "bytes_down_per_device": sum(report["bytes_down"] for report in reports) / count,
                "finished": sum(report["ends"].get("finished", 0) for report in reports),
                **GOALS.get(count, {}),
            }
        finally:
            for process in fleet:
                process.kill()
                process.wait()


def _tell(fleet: list[subprocess.Popen[str]], word: str) -> None:
    for process in fleet:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has finished already
            process.stdin.write(word + "\n")
            process.stdin.flush()


def _await_end(database: Database, task: str, until: float) -> None:
    while time.time() < until:
        with database.reading() as connection:
            row = next(iter(round_store.newest_rounds(connection, task, 1)), None)
        if row is not None and row.ended_at is not None:
            return
        time.sleep(0.1)


def _outcome(database: Database, task: str, begun: float) -> dict[str, Value]:
    with database.reading() as connection:
        row = next(iter(round_store.newest_rounds(connection, task, 1)), None)
        if row is None or row.state is not RoundState.PUBLISHED or row.ended_at is None:
            state = "none" if row is None else f"{row.state.value} ({row.reason.value if row.reason else 'running'})"
            raise BenchmarkError(f"the round did not complete: {state}")
        waited = 0.0
        left_at = {entry.from_state: entry.at for entry in round_store.history_of(connection, row.id)}
        for state, phase in PHASE_OF_STATE.items():
            last = connection.scalar(
                select(func.max(messages.c.received_at)).where(
                    messages.c.round_id == row.id, messages.c.phase == phase.value
                )
            )
            counts = {"advertise": (row.selected, row.advertised), "share": (row.advertised, row.shared),
                      "masked_input": (row.shared, row.inputs), "confirm": (row.inputs, row.confirmed),
                      "unmask": (row.confirmed, row.unmasked)}  # fmt: skip
            before, after = counts.get(phase.value, (0, 0))
            if last is not None and (after or 0) < (before or 0) and state.value in left_at:
                waited += max(0.0, left_at[state.value] - last)
    database.close()
    wall = row.ended_at - begun
    return {
        "wall_s": wall,
        "deadline_wait_s": waited,
        "overhead_s": wall - waited,
        "selected": row.selected,
        "advertised": row.advertised,
        "shared": row.shared,
        "inputs": row.inputs,
        "unmasked": row.unmasked,
        "neighbours": row.neighbours,
    }


def _doomed(count: int, dropout: float) -> dict[int, str]:
    """Who vanishes in which phase, evenly over the phases."""
    phases = [phase.value for phase in Phase]
    chosen = np.random.default_rng(1).permutation(count)[: round(count * dropout)]
    return {int(number): phases[place % len(phases)] for place, number in enumerate(chosen)}


def _home(folder: Path, number: int) -> Path:
    home = folder / f"device-{number}"
    home.mkdir()
    return home


def _start_fleet(
    folder: Path, url: str, processes: int, count: int, doomed: dict[int, str], options: argparse.Namespace
) -> list[subprocess.Popen[str]]:
    edges = np.linspace(0, count, processes + 1).astype(int)
    fleet = []
    for index, (first, end) in enumerate(itertools.pairwise(edges)):
        setting = FleetSetting(int(first), int(end - first), options.dimension, doomed, options.timeout)
        path = folder / f"fleet-{index}.json"
        path.write_bytes(msgspec.json.encode(setting))
        command = [sys.executable, "-m", "benchmarks._device_process", str(folder), url, str(path)]
        fleet.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT))
    for process in fleet:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise BenchmarkError("a process of devices did not start: see above")
    return fleet


def _report(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError("a process of devices ended early: see above")
    found: dict[str, Any] = json.loads(line)
    if found["problems"]:
        print(f"devices report: {found['problems']}", file=sys.stderr)
    return found
