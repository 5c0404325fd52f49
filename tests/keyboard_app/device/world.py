"""Real devices and a real coordinator over HTTP on loopback, with one clock that all of them go by."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from coordinator.app import create_app
from coordinator.experiments.metric_store import sums_of
from coordinator.service import Coordinator
from coordinator.settings import DeadlineSettings, MetricSettings, PaceSettings, RoundSettings, Settings
from coordinator.storage.round_store import Round, newest_rounds
from data_logging import ImpressionLog, Outcome
from federated_protocol import signing
from federated_protocol.enrolment import issue
from federated_protocol.messages import Phase, SessionAnswer, SignedMessage
from keyboard_app.device import DeviceIdentity, DevicePolicy, DeviceRuntime, ScheduleSetting, SwitchedConditions
from keyboard_app.device.identity import TREATMENT
from keyboard_app.device.transport import Transport
from keyboard_app.suggestions import SuggestionEngine
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from suggestion_model.features import DENSE_FEATURES
from suggestion_model.runtime import Ranker
from tests.clocks import SettableClock
from tests.keyboard_app.offers import offer

START = 1_800_000_000.0
QUERY_LIST = "query,category\nthai restaurants in oakland,restaurants\nflights to denver,travel\n"
ROUNDS = RoundSettings(
    goal_count=6,
    minimum_count=4,
    overselect=1.0,
    smallest_aggregate=4,
    settle_s=1.0,
    pause_s=2.0,
)


class ObservedTransport(Transport):
    """The real transport; notes every masked input that leaves, and may lose or spoil what a test says."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_s=60.0, wait_s=0)
        self.masked_inputs: list[tuple[str, bytes]] = []
        self.before_send: Callable[[Phase], None] = lambda phase: None

    def send(self, session: str, phase: Phase, message: SignedMessage) -> SessionAnswer:
        self.before_send(phase)
        if phase is Phase.MASKED_INPUT:
            self.masked_inputs.append((session, message.payload))
        return super().send(session, phase, message)


@dataclass
class Device:
    home: Path
    log: ImpressionLog
    conditions: SwitchedConditions
    transport: ObservedTransport
    runtime: DeviceRuntime
    due: float = START


@dataclass
class World:
    """A coordinator that can be restarted, an authority, devices, and the clock they all go by."""

    folder: Path
    bundle: Bundle
    ranker: Ranker
    settings: Settings
    authority: signing.Identity
    clock: SettableClock
    app: Flask = field(init=False)
    server: BaseWSGIServer = field(init=False)
    devices: list[Device] = field(default_factory=list)
    port: int = 0
    running: bool = False

    def start(self) -> None:
        self.running = True
        self.app = create_app(self.settings, clock=self.clock, rng=random.Random(5))
        self.server = make_server("127.0.0.1", self.port, self.app, threaded=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def kill(self) -> None:
        self.running = False
        self.server.shutdown()
        self.server.server_close()
        self.coordinator.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def coordinator(self) -> Coordinator:
        found: Coordinator = self.app.extensions["coordinator"]
        return found

    @property
    def rounds(self) -> list[Round]:
        """Newest first."""
        with self.coordinator.database.reading() as connection:
            return list(newest_rounds(connection, self.settings.task, 20))

    def add_device(self, examples: int = 6, arm: str | None = TREATMENT, engine: bool = False) -> Device:
        home = self.folder / f"device-{len(self.devices)}"
        identity = DeviceIdentity.open(home)
        while arm is not None and identity.arm() != arm:
            (home / "identity.key").unlink()
            identity = DeviceIdentity.open(home)
        identity.install(
            issue(
                self.authority,
                identity.public_key,
                authority_name="test",
                not_before=START - 60,
                not_after=START + 1e6,
                insecure_demo=True,
            ).encode()
        )
        device = self.start_device(home, engine)
        write_log(device.log, examples, seed=len(self.devices), arm=identity.arm())
        self.devices.append(device)
        return device

    def start_device(self, home: Path, engine: bool = False, policy: DevicePolicy | None = None) -> Device:
        log = ImpressionLog(home / "log.sqlite", clock=self.clock)
        conditions = SwitchedConditions()
        transport = ObservedTransport(self.url)
        ranks = None
        if engine:
            queries = home / "queries.csv"
            queries.write_text(QUERY_LIST)
            ranks = SuggestionEngine(self.bundle, load_catalog(queries), log, clock=self.clock)
        runtime = DeviceRuntime(
            home,
            self.url,
            DeviceIdentity.open(home),
            policy or DevicePolicy().demo(4),
            self.bundle,
            ranks,
            log,
            conditions,
            clock=self.clock,
            monotonic=self.clock,
            schedule=ScheduleSetting(
                rest_between_rounds_s=3600.0, news_interval_s=20.0, conditions_poll_s=5.0, backoff_first_s=1.0
            ),
            training_ranker=self.ranker,
            transport=transport,
            rng=random.Random(str(home)),
        )
        return Device(home, log, conditions, transport, runtime, self.clock.now)

    def run(self, until: Callable[[], bool], limit_s: float = 600.0) -> None:
        """Step whoever is due and move the clock to the next who is, until the claim holds."""
        end = self.clock.now + limit_s
        while not until():
            device = min(self.devices, key=lambda d: d.due)
            self.clock.now = max(self.clock.now, device.due)
            assert self.clock.now < end, [d.runtime.status.line for d in self.devices]
            self.tick()
            device.due = self.clock.now + max(device.runtime.step(), 1e-3)

    def tick(self) -> None:
        """What the coordinator's own thread would do: keep deadlines, open rounds."""
        if self.running:
            self.coordinator.driver.tick(self.clock.now)

    def published(self, version: int = 1) -> Callable[[], bool]:
        """All devices have at least this version and are back to waiting."""
        return lambda: all(
            device.runtime.status.model_version >= version and device.runtime.status.phase == "waiting"
            for device in self.devices
        )

    def step_until_sending(self, phase: Phase) -> None:
        """Run until some device has sent this phase's message."""
        seen: list[Phase] = []
        for device in self.devices:
            device.transport.before_send = seen.append
        self.run(lambda: phase in seen)
        for device in self.devices:
            device.transport.before_send = lambda phase: None


def write_log(log: ImpressionLog, examples: int, seed: int, arm: str, version: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for number in range(examples):
        impression = offer(
            created_at=log.clock() - 100 + number,
            candidate="thai restaurants in oakland" if number % 2 else "flights to denver",
            features=tuple(rng.normal(size=DENSE_FEATURES).tolist()),
            explored=number == 0,
            propensity=0.05 if number == 0 else 1.0,
            model_version=version,
            arm=arm,
        )
        log.finish_line(arm, version, impression, Outcome.TAPPED if number % 2 else Outcome.IGNORED)
        log.count_line(arm, version)


@contextmanager
def running_world(folder: Path, bundle: Bundle, ranker: Ranker, **settings: Any) -> Iterator[World]:
    """A world whose coordinator runs; ``settings`` are added to those of small, quick rounds."""
    authority = signing.Identity.generate()
    small = Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=f"sqlite:///{folder}/coordinator.sqlite",
        allow_insecure_demo=True,
        rounds=ROUNDS,
        deadlines=DeadlineSettings(selecting_s=6.0, advertise_s=4.0, share_s=4.0, masked_input_s=4.0, unmask_s=4.0),
        metrics=MetricSettings(newest_versions=2, lowest_score=-2.0, highest_score=2.0, score_step=1.0),
        pace=PaceSettings(shortest_s=1.0, longest_s=5.0),
    )
    world = World(folder, bundle, ranker, msgspec.structs.replace(small, **settings), authority, SettableClock(START))
    world.start()
    try:
        yield world
    finally:
        for device in world.devices:
            device.runtime.stop()
            device.log.close()
        world.kill()


def metric_sums(world: World) -> dict[str, int]:
    """The exact counters of the newest published round, by name."""
    row = next(row for row in world.rounds if row.published_version is not None)
    with world.coordinator.database.reading() as connection:
        return dict(sums_of(connection, row.id))
