"""Real rounds, counted byte by byte: a coordinator process, real devices over HTTP, some of which vanish.

Each device is what a window's device runs (participation, training, codec, secure aggregation, transport), on a thread
of its own; its log holds a handful of made-up offers, and what it holds changes no message's size. Dropouts advertise
keys and fall silent before a random later phase. Counted are request lines, headers and bodies of everything from
check-in to the new model, polls included; TLS and TCP framing are not.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import BenchmarkError
from data_logging import Impression, ImpressionLog, Outcome
from federated_protocol.enrolment import issue
from federated_protocol.messages import Phase
from federated_protocol.signing import Identity
from keyboard_app.device.history import History
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.local_training import LocalTrainer
from keyboard_app.device.local_work import LocalWorker
from keyboard_app.device.model_store import ModelStore
from keyboard_app.device.participation import Participation
from keyboard_app.device.participation_states import PHASE_OF_STATE, EndKind, Equipment
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.privacy_budget import PrivacyBudget
from keyboard_app.device.transport import Traffic, Transport
from keyboard_app.device.workbench import Workbench
from keyboard_app.simulation.processes import Child, ChildError
from suggestion_model.bundle import Bundle
from suggestion_model.features import DENSE_FEATURES

PATIENCE_S = 900.0
LATE_PHASES = tuple(Phase)[1:]


@dataclass(frozen=True, slots=True)
class RoundBytes:
    """What one round cost the devices that stayed to its end, each on average."""

    bytes_up: float
    bytes_down: float
    largest_up: int
    requests: float
    up_by_request: dict[str, float]
    """Bytes up by what was asked."""
    devices: int
    survivors: int
    wall_s: float


class _CountedTransport(Transport):
    """Knows what its bytes were for."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.requests: list[tuple[str, int]] = []

    def _request(self, method: str, path: str, *rest: Any) -> bytes:
        before = self.traffic.up
        try:
            return super()._request(method, path, *rest)
        finally:
            what = "model" if "/models/" in path else path.partition("?")[0].rpartition("/")[2]
            self.requests.append((f"{method} {what}", self.traffic.up - before))


@dataclass(slots=True)
class _Device:
    participation: Participation
    transport: _CountedTransport
    vanishes: Phase | None = None


def measure_round(
    devices: int, dropout: float, deadline_s: float = 30.0, settings: tuple[str, ...] = (), seed: int = 0
) -> RoundBytes:
    """Run one round with ``devices`` of which the share ``dropout`` vanishes.

    Args:
        devices: in U1.
        dropout: in [0, 0.5); the graph is solved for it.
        deadline_s: how long each phase waits for those who vanished; too short on a busy machine, and the slow are out.
        settings: further ``NAME=VALUE`` settings of the coordinator.
        seed: who vanishes when.

    Raises:
        BenchmarkError: the round does not come about.
    """
    authority = Identity.generate()
    rng = random.Random(seed)
    gone = rng.sample(range(devices), round(dropout * devices))
    with tempfile.TemporaryDirectory(prefix="update-size-") as name, ExitStack() as stack:
        folder = Path(name)
        chosen = (*_settings(devices, dropout, deadline_s), *settings)
        url = stack.enter_context(_coordinator(folder, authority.public_key, chosen))
        made = [_device(folder / f"device-{i}", url, authority, stack) for i in range(devices)]
        for i in gone:
            made[i].vanishes = rng.choice(LATE_PHASES)
        started = time.monotonic()
        _run(made)
        wall_s = time.monotonic() - started
        stayed = [device for device in made if device.vanishes is None]
        for device in stayed:
            end = device.participation.end
            if end is None or end.kind is not EndKind.FINISHED:
                raise BenchmarkError(f"a device did not finish the round: {end.sentence if end else 'too slow'}")
        return _sum_up(stayed, devices, wall_s)


def _settings(devices: int, dropout: float, deadline_s: float) -> tuple[str, ...]:
    survivors = devices - round(dropout * devices)
    return (
        f"rounds.goal_count={devices}",
        f"rounds.minimum_count={devices}",
        "rounds.overselect=1.0",
        f"rounds.smallest_aggregate={max(2, min(20, survivors))}",
        "rounds.max_rounds=1",
        f"threat.dropout={max(dropout, 0.1)}",
        "deadlines.selecting_s=300",
        "deadlines.advertise_s=300",
        *(f"deadlines.{phase}_s={deadline_s}" for phase in ("share", "masked_input", "confirm", "unmask")),
    )


@contextmanager
def _coordinator(folder: Path, authority_key: bytes, settings: tuple[str, ...]) -> Iterator[str]:
    port_file = folder / "port"
    command = [sys.executable, "-m", "coordinator.cli", "serve", "--port", "0", "--port-file", str(port_file)]
    command += ["--database", str(folder / "coordinator.sqlite"), "--authority-public-key", authority_key.hex()]
    for assignment in settings:
        command += ["--set", assignment]
    child = Child("the coordinator", command, folder / "coordinator.log")
    try:
        until = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().strip()):
            child.check()
            if time.monotonic() > until:
                raise BenchmarkError("the coordinator did not come up within a minute")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}"
    except ChildError as problem:
        raise BenchmarkError(str(problem)) from None
    finally:
        child.ask_to_stop()
        child.process.wait(20)


def _device(home: Path, url: str, authority: Identity, stack: ExitStack) -> _Device:
    home.mkdir(parents=True)
    bundle = _bundle()
    identity = DeviceIdentity.open(home)
    now = time.time()
    identity.install(
        issue(
            authority,
            identity.public_key,
            not_before=now - 3600,
            not_after=now + 30 * 86400,
            authority_name="benchmark",
        ).encode()
    )
    log = stack.enter_context(closing(ImpressionLog(home / "log.sqlite")))
    _write_offers(log, now)
    transport = stack.enter_context(closing(_CountedTransport(url)))
    policy = DevicePolicy()
    bench = Workbench(bundle, log)
    equipment = Equipment(
        transport=transport,
        identity=identity,
        policy=policy,
        store=ModelStore(home / "models", bundle.digest, bundle.weights0, bundle.threshold0),
        worker=LocalWorker(bench, log, LocalTrainer(bench, rng=np.random.default_rng(0))),
        log=log,
        history=History(home / "rounds.json"),
        budget=PrivacyBudget(home / "privacy.json", policy.epsilon_cap, policy.delta),
        on_model=lambda model: None,
        clock=time.time,
        monotonic=time.monotonic,
    )
    return _Device(Participation(equipment, wants_round=True), transport)


def _write_offers(log: ImpressionLog, now: float) -> None:
    """Four offers, one of them tapped: something to train on."""
    for number in range(4):
        row = log.record(
            Impression(
                created_at=now - 600 + number,
                conversation="c",
                context="where shall we eat tonight",
                candidate="restaurants nearby",
                category="restaurants",
                baseline_score=0.5,
                features=(0.5,) * DENSE_FEATURES,
                score=0.0,
                slot=0,
                shown=True,
                explored=False,
                propensity=0.95,
                model_version=0,
                arm="treatment",
            )
        )
        if row is not None:
            log.resolve(row, Outcome.IGNORED if number else Outcome.TAPPED)


_BUNDLE: list[Bundle] = []


def _bundle() -> Bundle:
    if not _BUNDLE:
        _BUNDLE.append(Bundle.shipped())
    return _BUNDLE[0]


def _run(devices: list[_Device]) -> None:
    """Step every device on its own thread, as often as it wants to be stepped, until it is done or vanishes."""
    until = time.monotonic() + PATIENCE_S

    def live(device: _Device) -> None:
        participation = device.participation
        while participation.end is None and time.monotonic() < until:
            if device.vanishes is not None and PHASE_OF_STATE.get(participation.state) is device.vanishes:
                return
            time.sleep(participation.step())

    with ThreadPoolExecutor(len(devices)) as threads:
        for done in [threads.submit(live, device) for device in devices]:
            done.result()


def _sum_up(stayed: list[_Device], devices: int, wall_s: float) -> RoundBytes:
    by_request: dict[str, float] = defaultdict(float)
    for device in stayed:
        for what, size in device.transport.requests:
            by_request[what] += size / len(stayed)
    traffic: list[Traffic] = [device.transport.traffic for device in stayed]
    return RoundBytes(
        bytes_up=sum(t.up for t in traffic) / len(traffic),
        bytes_down=sum(t.down for t in traffic) / len(traffic),
        largest_up=max(t.up for t in traffic),
        requests=sum(len(device.transport.requests) for device in stayed) / len(stayed),
        up_by_request={what: round(size, 1) for what, size in sorted(by_request.items(), key=lambda item: -item[1])},
        devices=devices,
        survivors=len(stayed),
        wall_s=wall_s,
    )
