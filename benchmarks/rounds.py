"""A round over real HTTP with real devices on loopback: what it costs beyond the devices' own training.

Devices run the product's client (keys, shares, masks, HTTP) in processes that are up before the clock starts; nothing
is trained. Where devices vanish, a phase waits for its deadline: that wait is reported apart.

The devices' keys, signatures and masks cost time on the same cores. What they and the coordinator cannot do without is
timed in the same run and reported as ``device_primitives_s`` and ``coordinator_primitives_s`` (processor time), and as
``least_s``: what that takes on all cores of this machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from select import select as select_readable
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, func, select

from benchmarks import BenchmarkError, Value
from benchmarks._device_process import FleetSetting
from benchmarks._loopback import ROOT, RunningCoordinator, coordinator
from benchmarks._primitive_costs import Primitives
from coordinator.rounds.planning import decode_plan, vector_layout
from coordinator.rounds.states import PHASE_OF_STATE, RoundState
from coordinator.settings import CodecTarget, DeadlineSettings, PaceSettings, RoundSettings, Settings
from coordinator.storage import Database, round_store
from coordinator.storage.round_store import Round
from coordinator.storage.tables import messages
from federated_protocol.enrolment import issue
from federated_protocol.messages import Phase
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import GraphParameters
from federated_protocol.signing import Identity
from keyboard_app.device.identity import DeviceIdentity

DESCRIPTION = "a secure round over HTTP: time, processor, memory and requests of the coordinator"
GOALS = {20: {"goal_overhead_s": 1.0}, 1000: {"goal_overhead_s": 60.0, "goal_peak_rss_mib": 300.0}}
MOST_PROCESSES = 4
SMALLEST_AGGREGATE = 20
"""What a coordinator and a device ask for by default. Whoever asks for more than a device has neighbours has every
device verify further members of the sum, two signatures each."""
LOOK_EVERY_S = 2.0
LAST_ANSWERS_S = 30.0
"""After the end of the round, for devices to hear of it, at most."""


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure one round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rounds", description=__doc__)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--dropout", type=float, default=0.0, help="share of devices that vanish, over all phases")
    parser.add_argument(
        "--stated-dropout", type=float, help="what the task is solved for; by default the dropout, at least 0.1"
    )
    parser.add_argument("--dimension", type=int, default=7300, help="weights of the model (default 7300)")
    parser.add_argument("--processes", type=int, help="device processes; by default one a device up to 20, else four")
    parser.add_argument("--deadline", type=float, default=90.0, help="longest duration of a phase, seconds")
    parser.add_argument(
        "--cohort-size",
        type=int,
        default=RoundSettings().cohort_size,
        help="cut the round into cohorts of at most so many devices, 0 for one (default: the coordinator's)",
    )
    parser.add_argument("--database", help="URL; by default SQLite in a temporary folder")
    parser.add_argument("--timeout", type=float, help="seconds; by default ten minutes beyond all deadlines")
    options = parser.parse_args(argv)
    if not (4 <= options.devices <= 2000 and 0 <= options.dropout <= 0.3):
        parser.error("--devices lies between 4 and 2000, --dropout between 0 and 0.3")
    if options.timeout is None:
        options.timeout = 600.0 + len(Phase) * options.deadline
    with tempfile.TemporaryDirectory(prefix="rounds-") as name:
        return measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Value]:
    """Run the round and read what it cost."""
    count = options.devices
    authority = Identity.generate()
    processes = options.processes or (count if count <= 20 else MOST_PROCESSES)
    cohort = min(count, options.cohort_size or count)
    stated = options.stated_dropout or max(0.1, options.dropout)
    settings = Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=options.database or f"sqlite:///{folder / 'coordinator.sqlite'}",
        rounds=RoundSettings(
            goal_count=count,
            minimum_count=max(4, int(0.6 * cohort)),
            cohort_size=options.cohort_size,
            overselect=1.0,
            smallest_aggregate=max(4, min(SMALLEST_AGGREGATE, cohort // 2)),
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
            peak_pss_mib = _await_end(database, settings.task, begun + options.timeout, served)
            _await_reports(fleet)
            _tell(fleet, "over")
            reports = [_report(process) for process in fleet]
            found = _outcome(database, settings.task, begun)
            cpu_s = served.cpu_s() - cpu_before
            return {
                "devices": count,
                "dropout": options.dropout,
                "stated_dropout": stated,
                "dimension": options.dimension,
                "device_processes": processes,
                **found,
                "coordinator_cpu_s": cpu_s,
                "peak_rss_mib": served.peak_rss_mib(),
                "peak_pss_mib": max(peak_pss_mib, served.pss_mib()),
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


def _await_end(database: Database, task: str, until: float, served: RunningCoordinator) -> float:
    """Wait for the round's end; the largest memory of the coordinator that was seen meanwhile, MiB."""
    peak_mib, look_at = 0.0, 0.0
    while time.time() < until:
        with database.reading() as connection:
            newest = next(iter(round_store.newest_rounds(connection, task, 1)), None)
            cohorts = [] if newest is None else round_store.cohorts_of(connection, newest)
        if cohorts and not any(row.running for row in cohorts):
            break
        if time.time() >= look_at:
            peak_mib, look_at = max(peak_mib, served.pss_mib()), time.time() + LOOK_EVERY_S
        time.sleep(0.1)
    return peak_mib


def _await_reports(fleet: list[subprocess.Popen[str]]) -> None:
    """Wait until every process has reported, but not for long."""
    until = time.monotonic() + LAST_ANSWERS_S
    waiting = [process.stdout for process in fleet if process.stdout is not None]
    while waiting and (left := until - time.monotonic()) > 0:
        ready, _, _ = select_readable(waiting, [], [], left)
        waiting = [stream for stream in waiting if stream not in ready]


def _outcome(database: Database, task: str, begun: float) -> dict[str, Value]:
    """Time by phase, of the slowest cohort, and what the round cannot be had for less than."""
    with database.reading() as connection:
        newest = next(iter(round_store.newest_rounds(connection, task, 1)), None)
        cohorts = [] if newest is None else round_store.cohorts_of(connection, newest)
        summed = [row for row in cohorts if row.state is RoundState.PUBLISHED]
        if not summed:
            ends = ", ".join(f"{row.state.value} ({row.reason.value if row.reason else 'running'})" for row in cohorts)
            raise BenchmarkError(f"the round did not complete: {ends or 'none'}")
        timed = [_phases(connection, row, begun) for row in summed]
    database.close()
    wall = max(row.ended_at or 0.0 for row in summed) - begun
    waited = max(waited for _, waited in timed)
    least = [_least(row) for row in summed]
    return {
        "wall_s": wall,
        "deadline_wait_s": waited,
        "overhead_s": wall - waited,
        **{name: max(seconds[name] for seconds, _ in timed) for name in timed[0][0]},
        **{name: sum(found[name] for found in least) for name in least[0]},
        "cores": os.cpu_count() or 1,
        "cohorts": len(cohorts),
        "cohorts_summed": len(summed),
        "selected": sum(row.selected or 0 for row in cohorts),
        "advertised": sum(row.advertised or 0 for row in cohorts),
        "shared": sum(row.shared or 0 for row in cohorts),
        "inputs": sum(row.inputs or 0 for row in summed),
        "unmasked": sum(row.unmasked or 0 for row in summed),
        "neighbours": max(row.neighbours or 0 for row in summed),
    }


def _phases(connection: Connection, row: Round, begun: float) -> tuple[dict[str, float], float]:
    """How long each phase of a cohort took without the wait for its deadline, and that wait over all of them."""
    left_at = {entry.from_state: entry.at for entry in round_store.history_of(connection, row.id)}
    seconds = {"select_s": left_at[RoundState.SELECTING.value] - begun}
    expected, waited = row.selected or 0, 0.0
    since = left_at[RoundState.SELECTING.value]
    for state, phase in PHASE_OF_STATE.items():
        answered, last = connection.execute(
            select(func.count(), func.max(messages.c.received_at)).where(
                messages.c.round_id == row.id, messages.c.phase == phase.value
            )
        ).one()
        until = left_at[state.value]
        # The deadline is waited for where somebody vanished, from the last message on.
        wait = max(0.0, until - last) if answered < expected and last is not None else 0.0
        seconds[f"{phase.value}_s"] = until - since - wait
        expected, since, waited = answered, until, waited + wait
    return seconds, waited


def _least(row: Round) -> dict[str, float]:
    """What the calls of primitives cost that a cohort of these sizes cannot do without, timed now on this machine."""
    parameters = GraphParameters(row.advertised or 0, row.neighbours or 0, row.threshold or 0)
    primitives = Primitives.time(parameters, vector_layout(decode_plan(row.plan or b"")))
    inputs, gone = row.inputs or 0, (row.shared or 0) - (row.inputs or 0)
    survival = inputs / max(1, row.shared or 0)
    devices_s = inputs * primitives.client_s(parameters)
    # Of every device the coordinator verifies a certificate and six signatures, beside opening the sum.
    opening_s = primitives.server_s(inputs, round(gone * parameters.neighbours * survival))
    coordinator_s = opening_s + 7 * (row.advertised or 0) * primitives.verify
    return {
        "device_primitives_s": devices_s,
        "coordinator_primitives_s": coordinator_s,
        "least_s": (devices_s + coordinator_s) / (os.cpu_count() or 1),
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
