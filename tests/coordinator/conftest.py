"""A coordinator on a temporary database, a clock that stands still, and devices that run the real protocol."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import urllib3
from flask import Flask
from numpy.typing import NDArray
from werkzeug.serving import make_server

from coordinator.app import create_app
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.stopping import stop_rounds
from coordinator.service import Coordinator
from coordinator.settings import (
    CodecTarget,
    DeadlineSettings,
    OperatorSettings,
    OptimizerSettings,
    RoundSettings,
    Settings,
)
from federated_protocol import wire
from federated_protocol.enrolment import Certificate, issue
from federated_protocol.messages import (
    CheckIn,
    CheckInAnswer,
    Message,
    ModelArtifact,
    Pending,
    Phase,
    PlanAnswer,
    Refusal,
    Selected,
    SessionAnswer,
    SignedMessage,
)
from federated_protocol.plan import PROTOCOL_VERSION, Plan, number_of_counters
from federated_protocol.secure_aggregation import AggregationClient, RoundBinding
from federated_protocol.signing import CHECK_IN, Identity, sign
from federated_protocol.trust import TrustStore
from federated_protocol.update_codec import encode, layout
from tests.clocks import SettableClock

DIMENSION = 24
START = 1_800_000_000.0


Transport = Callable[[str, str, bytes | None], tuple[int, bytes]]


@dataclass(frozen=True)
class HttpTransport:
    """Speaks HTTP to ``address``."""

    address: str
    pool: urllib3.PoolManager

    def __call__(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": wire.CONTENT_TYPE} if body is not None else {}
        response = self.pool.request(method, self.address + path, body=body, headers=headers)
        return response.status, response.data


@dataclass
class Device:
    """One device that speaks the wire protocol; ``update``, ``weight`` and ``counters`` are what it contributes."""

    identity: Identity
    certificate: bytes
    transport: Transport
    clock: SettableClock
    update: NDArray[np.float64]
    weight: float
    counters: NDArray[np.uint64] | None = None
    session: str = ""
    plan: Plan | None = None
    client: AggregationClient | None = None
    sent: dict[Phase, SignedMessage] = field(default_factory=dict)

    def check_in_message(self, **changes: Any) -> CheckIn:
        message = CheckIn(
            protocol_version=PROTOCOL_VERSION,
            app_version="test",
            certificate=self.certificate,
            nonce=secrets.token_bytes(16),
            issued_at=self.clock.now,
            wants_round=True,
        )
        return msgspec.structs.replace(message, **changes)

    def check_in(self, **changes: Any) -> Message:
        return self.post_check_in(sign(self.check_in_message(**changes), CHECK_IN, "", self.identity))

    def post_check_in(self, signed: SignedMessage) -> Message:
        answer = self.call("POST", "/v1/check-in", wire.encode(signed), CheckInAnswer | Refusal)
        if isinstance(answer, Selected):
            self.session = answer.session
        return answer

    def call(self, method: str, path: str, body: bytes | None, kind: Any = SessionAnswer | Refusal) -> Any:
        status, data = self.transport(method, path, body)
        answer = wire.decode(data, kind)
        assert (status == 200) != isinstance(answer, Refusal), (status, answer)
        return answer

    def get(self, what: str) -> Any:
        return self.call("GET", f"/v1/sessions/{self.session}/{what}?device={self.identity.fingerprint.hex()}", None)

    def fetch_plan(self) -> Any:
        answer = self.get("plan")
        if isinstance(answer, PlanAnswer):
            self.plan = msgspec.msgpack.decode(answer.plan, type=Plan)
            self.session = self.plan.session
            trust = TrustStore.pinned(wire.decode(self.certificate, Certificate).authority_key)
            self.client = AggregationClient(
                RoundBinding.of(self.plan),
                layout(self.plan.codec, number_of_counters(self.plan)),
                device_key=self.identity.public_key,
                vouch=lambda certificate: trust.verify(certificate, self.clock.now),
                floor=2,
                threat=self.plan.aggregation.threat,
            )
        return answer

    def vector(self) -> NDArray[np.uint32]:
        assert self.plan is not None
        count = number_of_counters(self.plan)
        counters = self.counters if self.counters is not None else np.arange(count, dtype=np.uint64)
        return encode(self.update, self.weight, counters, self.plan.codec)

    def message(self, phase: Phase, vector: NDArray[np.uint32] | None = None) -> Message:
        """The next message, computed from the coordinator's last answer."""
        assert self.client is not None
        if phase is Phase.ADVERTISE:
            return self.client.advertise()
        if phase is Phase.SHARE:
            return self.client.share(self.get("advertise"))
        if phase is Phase.MASKED_INPUT:
            return self.client.masked_input(self.get("share"), self.vector() if vector is None else vector)
        if phase is Phase.CONFIRM:
            return self.client.confirm(self.get("masked_input"))
        return self.client.unmask(self.get("confirm"))

    def post(self, phase: Phase, message: Message | None = None) -> Any:
        said = message or self.message(phase)
        binding = self.client.binding if self.client is not None else b""
        signed = sign(said, phase, self.session, self.identity, binding)
        self.sent[phase] = signed
        return self.post_signed(phase, signed)

    def post_signed(self, phase: Phase, signed: SignedMessage) -> Any:
        return self.call("POST", f"/v1/sessions/{self.session}/{phase.value}", wire.encode(signed))


@dataclass
class Deployment:
    """A coordinator, its authority and its devices."""

    settings: Settings
    clock: SettableClock
    authority: Identity
    initial: ModelArtifact
    app: Flask

    @property
    def coordinator(self) -> Coordinator:
        found: Coordinator = self.app.extensions["coordinator"]
        return found

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.coordinator.driver.tick(self.clock.now)

    def restart(self) -> None:
        """Kill the process: a new app object on the same database, nothing carried over."""
        self.coordinator.database.close()
        self.app = create_app(self.settings, initial_model=self.initial, clock=self.clock)

    def call(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": wire.CONTENT_TYPE} if body is not None else {}
        response = self.app.test_client().open(path, method=method, data=body, headers=headers)
        return response.status_code, response.data

    def device(self, seed: int = 0, transport: Transport | None = None, **certificate: Any) -> Device:
        identity = Identity.generate()
        rng = np.random.default_rng(seed)
        dates = {"not_before": START - 1000.0, "not_after": START + 1e6} | certificate
        signer = dates.pop("signer", self.authority)
        return Device(
            identity=identity,
            certificate=issue(signer, identity.public_key, authority_name="test", **dates).encode(),
            transport=transport or self.call,
            clock=self.clock,
            update=rng.normal(size=DIMENSION) * 0.1,
            weight=float(rng.uniform(0.1, 1.0)),
        )

    def devices(self, count: int, transport: Transport | None = None) -> list[Device]:
        return [self.device(seed, transport) for seed in range(count)]

    def select(self, count: int) -> list[Device]:
        """Open a round and let ``count`` devices join it and fetch the plan."""
        self.tick(self.settings.rounds.pause_s)
        devices = self.devices(count)
        for device in devices:
            assert isinstance(device.check_in(), Selected)
        if isinstance(devices[0].fetch_plan(), Pending):  # not full: the deadline closes the selection
            self.tick(self.settings.deadlines.selecting_s)
        for device in devices:
            assert isinstance(device.fetch_plan(), PlanAnswer)
        return devices

    def run_phase(self, phase: Phase, devices: Iterable[Device]) -> None:
        for device in devices:
            answer = device.post(phase)
            assert not isinstance(answer, Refusal), answer

    def run_round(self, devices: list[Device], vanish: dict[Phase, int] | None = None) -> list[Device]:
        """Run all phases; ``vanish[phase]`` devices are silent from that phase on. Returns those still in."""
        present = list(devices)
        for phase in Phase:
            gone = (vanish or {}).get(phase, 0)
            present = present[gone:]
            self.run_phase(phase, present)
            if gone:
                self.tick(100.0)
        return present

    def stop_rounds(self) -> int:
        """End what runs, as the operator ada."""
        with self.coordinator.database.writing() as connection:
            return stop_rounds(connection, tasks_of(self.settings), now=self.clock.now, actor="ada")

    def state(self) -> str:
        rows = self.coordinator_rounds(1)
        return rows[0].state.value if rows else "none"

    def coordinator_rounds(self, limit: int = 100) -> Any:
        from coordinator.storage.round_store import newest_rounds

        with self.coordinator.database.reading() as connection:
            return newest_rounds(connection, self.settings.task, limit)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(START)


@pytest.fixture
def initial_model() -> ModelArtifact:
    weights = np.linspace(-1, 1, DIMENSION).astype("<f4")
    return ModelArtifact(version=0, parent=0, bundle_digest="b" * 64, weights=weights.tobytes(), threshold=0.5)


@pytest.fixture
def authority() -> Identity:
    return Identity.generate()


@pytest.fixture
def settings(tmp_path: Path, authority: Identity) -> Settings:
    return Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=f"sqlite:///{tmp_path / 'coordinator.sqlite'}",
        rounds=RoundSettings(
            goal_count=10,
            minimum_count=4,
            overselect=1.0,
            smallest_aggregate=3,
            pause_s=2.0,
            settle_s=1.0,
            pipelined=False,
        ),
        deadlines=DeadlineSettings(
            selecting_s=30, advertise_s=30, share_s=30, masked_input_s=30, confirm_s=30, unmask_s=30
        ),
        codec=CodecTarget(clip=1.0, step=0.0005),
        optimizer=OptimizerSettings(name="average", learning_rate=1.0, prior_weight=0.0),
        operators=OperatorSettings(public_reports=True),
    )


@pytest.fixture
def deploy(
    clock: SettableClock, authority: Identity, initial_model: ModelArtifact, settings: Settings
) -> Iterator[Callable[..., Deployment]]:
    """Start a coordinator with changed settings: ``deploy(rounds={"goal_count": 20})``."""
    made: list[Deployment] = []

    def make(**changes: Any) -> Deployment:
        groups = {
            name: msgspec.structs.replace(getattr(settings, name), **change) if isinstance(change, dict) else change
            for name, change in changes.items()
        }
        chosen = msgspec.structs.replace(settings, **groups)
        app = create_app(chosen, initial_model=initial_model, clock=clock, rng=random.Random(1))
        made.append(Deployment(chosen, clock, authority, initial_model, app))
        return made[-1]

    yield make
    for deployment in made:
        deployment.coordinator.close()


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy()


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], Transport]]:
    """Serve an app on a free loopback port; returns a transport that speaks HTTP to it."""
    servers: list[tuple[Any, threading.Thread]] = []
    pool = urllib3.PoolManager(retries=False)

    def start(app: Flask) -> Transport:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        base = f"http://127.0.0.1:{server.server_port}"

        return HttpTransport(base, pool)

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(5)
        server.server_close()
