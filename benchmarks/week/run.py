"""Seven days in a few minutes: simulated devices against the real coordinator, on a clock that jumps.

The coordinator is the product's: storage, rounds, secure aggregation, gate, staged rollout, steward, signed
releases. Its methods are called where HTTP would arrive. Devices run the product's protocol (signatures, shares, masks)
in every round they join. Simulated are the people (:mod:`benchmarks.week.world`), the network, and the time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from benchmarks._workers import Post
from benchmarks.postgresql_server import PostgresServer
from benchmarks.week import taking_part
from benchmarks.week.device import FAULTY_APP, FIXED_APP, GOOD_APP, Model, SimulatedDevice
from benchmarks.week.taking_part import NothingSaid
from benchmarks.week.world import DAY, HOUR, TASTE, ZONES, World, windows
from coordinator.app import create_app
from coordinator.releases import signing_keys
from coordinator.releases.model_store import weights_of
from coordinator.rounds.states import PHASE_OF_STATE, RoundState
from coordinator.service import Coordinator
from coordinator.settings import Settings
from coordinator.storage import round_store
from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import (
    CheckInAnswer,
    ComeBack,
    ModelArtifact,
    Phase,
    PlanAnswer,
    RefusalReason,
    Selected,
    SessionAnswer,
    SignedMessage,
)
from federated_protocol.plan import Plan, TaskKind
from federated_protocol.signing import Identity
from keyboard_app.device.model_store import ModelRejectedError
from keyboard_app.device.release_client import ReleaseClient
from keyboard_app.device.transport import Refused

START = 1_798_416_000.0
"""Monday, 28 December 2026, 00:00 UTC."""
TICK_S = 240.0
FAULTY_FROM, FAULTY_UNTIL = 3.0, 3.45
"""Days: how long a faulty app is in the field, before its fix replaces it."""
ROTATED_AT, RESTARTED_AT = 4.5, 2.4
"""Days."""
AFTER_A_ROUND_S = 6 * HOUR
"""A device that had its round asks again after this."""
ANSWER_S = 0.2
"""Simulated time between two devices' messages."""
VERIFYING = 4
"""Devices that check the signatures of every model they are told of, like any real one; it takes time."""


@dataclass(frozen=True, slots=True)
class WeekSetting:
    """How much of a week."""

    settings: Settings
    folder: Path
    devices: int = 5_000
    days: float = 7.0
    dropout: float = 0.1
    """Share of a round's devices that vanish in some phase."""
    seed: int = 0
    server: PostgresServer | None = None
    """Restarted in the middle of a round; without one the coordinator's own process is replaced."""
    restarted_at: float = RESTARTED_AT
    """Day after which the next round is interrupted."""
    stop_in_round: bool = False
    """End with a round under way, for a picture of it."""


class Clock:
    """Simulated Unix time; it never goes back."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def reach(self, when: float) -> None:
        """Move on."""
        self.now = max(self.now, when)


class Week:
    """Run it; then ask :attr:`app` what happened."""

    def __init__(
        self,
        setting: WeekSetting,
        authority: Identity,
        executor: Executor | None = None,
        posts: Sequence[Post] = (taking_part.at_once,),
    ) -> None:
        self.setting = setting
        self.clock = Clock(START)
        self.happened: Counter[str] = Counter()
        self._restart_due = False
        self._last = False
        self._authority = authority
        self._executor = executor
        self._posts = posts
        self._rng = np.random.default_rng(setting.seed)
        self._world = World.drawn(self._rng)
        self._initial = ModelArtifact(
            version=0,
            parent=0,
            bundle_digest="5" * 64,
            weights=self._world.initial_weights(self._rng).astype("<f4").tobytes(),
            threshold=-2.6,
        )
        self.app = self._start()
        self._models: dict[int, Model] = {}
        self._devices = [self._device(number) for number in range(setting.devices)]
        self._verifying = self._release_clients()
        self._waiting: dict[str, list[SimulatedDevice]] = {}
        self._due = [(self._next_window(device, START), n) for n, device in enumerate(self._devices)]
        heapq.heapify(self._due)

    @property
    def coordinator(self) -> Coordinator:
        """The one that runs now."""
        found: Coordinator = self.app.extensions["coordinator"]
        return found

    def run(self) -> None:
        """Live through it."""
        end = START + self.setting.days * DAY
        next_tick = START
        story = self._story()
        while self.clock.now < end or self._goes_on():
            when, number = heapq.heappop(self._due)
            while next_tick <= when:
                self.clock.reach(next_tick)
                self._tick()
                next_tick = max(next_tick + TICK_S, self.clock.now)
            while story and self.clock.now >= story[0][0]:
                story.pop(0)[1]()
            self.clock.reach(when)
            device = self._devices[number]
            heapq.heappush(self._due, (self._check_in(device), number))
            if len(self._waiting.get(device.session, ())) >= self.setting.settings.most_selected:
                self._run_if_selected(device.session)
        self.coordinator.population.flush(self.clock.now)

    def _goes_on(self) -> bool:
        """After the last day, until a round is in the middle of its masked inputs, if that is wanted."""
        if not self.setting.stop_in_round:
            return False
        self._last = True
        with self.coordinator.database.reading() as connection:
            row = round_store.running_round(connection, self.setting.settings.task)
        return row is None or row.state is not RoundState.COLLECTING

    # -- what is planned for the week --------------------------------------------------------------------------------

    def _story(self) -> list[tuple[float, Callable[[], None]]]:
        events: list[tuple[float, Callable[[], None]]] = [
            (self.setting.restarted_at, self._restart_soon),
            (FAULTY_FROM, lambda: self._install(FAULTY_APP, GOOD_APP, 0.7)),
            (FAULTY_UNTIL, lambda: self._install(FIXED_APP, FAULTY_APP, 1.0)),
            (ROTATED_AT, self._rotate_keys),
            *((day, lambda: self._install(FIXED_APP, GOOD_APP, 0.4)) for day in (3.6, 4.1, 4.6, 5.1, 5.6, 6.1, 6.6)),
        ]
        return sorted(((START + day * DAY, event) for day, event in events), key=lambda item: item[0])

    def _install(self, app: str, instead_of: str, share: float) -> None:
        for device in self._devices:
            if device.app_version == instead_of and self._rng.random() < share:
                device.app_version = app

    def _restart_soon(self) -> None:
        self._restart_due = True

    def _rotate_keys(self) -> None:
        folder = self.setting.folder
        for role in (signing_keys.ROUNDS, signing_keys.TIMESTAMP):
            signing_keys.rotate(folder / "offline", folder / "online", role, self.clock.now)
            self.happened["keys rotated"] += 1

    def _restart(self) -> None:
        """The database server crashes and comes back; with SQLite the process dies and another one takes over."""
        self._restart_due = False
        self.happened["restarts inside a round"] += 1
        if self.setting.server is not None:
            self.setting.server.restart()
        else:
            self.coordinator.database.close()
            self.app = self._start()

    # -- devices -----------------------------------------------------------------------------------------------------

    def _device(self, number: int) -> SimulatedDevice:
        rng = np.random.default_rng((self.setting.seed, number))
        identity = Identity.generate()
        zone = ZONES[int(np.searchsorted(np.cumsum([share for _, share in ZONES]), rng.random()))][0]
        certificate = issue(
            self._authority,
            identity.public_key,
            authority_name="week",
            not_before=START - DAY,
            not_after=START + 30 * DAY,
        ).encode()
        return SimulatedDevice(
            identity=identity,
            certificate=certificate,
            zone=zone,
            activity=float(rng.lognormal(-0.3, 0.8)),
            taste=float(rng.normal(0, TASTE)),
            windows=windows(rng, START, math.ceil(self.setting.days) + 2, zone),
            holdback_percent=round(self.setting.settings.metrics.holdback_percent),
            app_version=GOOD_APP,
            rng=rng,
            since=START - DAY,
        )

    def _next_window(self, device: SimulatedDevice, when: float) -> float:
        for start, end in device.windows:
            if start <= when < end:
                return when
            if start > when:
                return start + float(device.rng.uniform(0, 0.5 * HOUR))
        return math.inf

    def _check_in(self, device: SimulatedDevice) -> float:
        """Let a device ask; when it asks next."""
        now = self.clock.now
        signed = device.check_in(now)
        raw = self._insisting(lambda: self.coordinator.admission.check_in(signed, now))
        answer: CheckInAnswer = wire.decode(raw, CheckInAnswer)
        self.happened["check-ins"] += 1
        assert isinstance(answer, Selected | ComeBack)
        if device.learn(answer.current, now, self._world, self._model):
            self._verify(device, answer.current.version)
        if isinstance(answer, ComeBack):
            return self._next_window(device, now + answer.after_s)
        device.session = answer.session
        self._waiting.setdefault(answer.session, []).append(device)
        return self._next_window(device, now + AFTER_A_ROUND_S)

    def _model(self, version: int) -> Model:
        if version not in self._models:
            raw = self.coordinator.models.artifact(version)
            assert raw is not None
            artifact: ModelArtifact = wire.decode(raw, ModelArtifact)
            self._models[version] = Model(version, weights_of(artifact), artifact.threshold)
        return self._models[version]

    def _insisting(self, call: Callable[[], bytes]) -> bytes:
        """Repeat a request while the database is away, as a device does."""
        for attempt in range(8):
            try:
                return call()
            except SQLAlchemyError:
                self.happened["requests repeated"] += 1
                if attempt == 7:
                    raise
        raise AssertionError

    # -- rounds ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._insisting(self._one_tick)
        for session in list(self._waiting):
            self._run_if_selected(session)

    def _one_tick(self) -> bytes:
        self.coordinator.tick(self.clock.now)
        return b""

    def _run_if_selected(self, session: str) -> None:
        with self.coordinator.database.reading() as connection:
            row = round_store.round_by_session(connection, session)
        if row is not None and row.state is RoundState.SELECTING:
            return
        devices = self._waiting.pop(session)
        if row is not None and row.state is RoundState.ADVERTISING:
            self._run_round(session, devices)
        for device in devices:
            device.end(counted=False)

    def _run_round(self, session: str, devices: list[SimulatedDevice]) -> None:
        """Every device of a cohort goes through the protocol; some vanish on the way."""
        intake = self.coordinator.intake
        begun = []
        for device in devices:
            plan: SessionAnswer = wire.decode(intake.plan(session, device.identity.fingerprint), SessionAnswer)
            assert isinstance(plan, PlanAnswer)
            device.type_until(self.clock.now, self._world, self._model)
            device.plan = msgspec.msgpack.decode(plan.plan, type=Plan)
            begun.append(
                self._post_of(device)(
                    taking_part.take_up,
                    device.identity.private_bytes(),
                    session,
                    plan.plan,
                    self._authority.public_key,
                    self.clock.now,
                )
            )
        for done in begun:
            done.result()
        present, before = devices, None
        for phase in Phase:
            staying = [device for device in present if self._rng.random() > self.setting.dropout / len(Phase)]
            self.happened["devices vanished"] += len(present) - len(staying)
            present = []
            said = [self._ask(session, device, phase, before) for device in staying]
            for number, device in enumerate(staying):
                if phase is Phase.MASKED_INPUT and number == len(staying) // 2:
                    if self._last and device.plan is not None and device.plan.kind is TaskKind.TRAINING:
                        return
                    if self._restart_due:
                        self._restart()
                self.clock.reach(self.clock.now + ANSWER_S)
                if self._hand_in(session, phase, said[number].result()):
                    present.append(device)
            with self.coordinator.database.reading() as connection:
                row = round_store.round_by_session(connection, session)
            if row is not None and row.running:
                if PHASE_OF_STATE.get(row.state) is phase:  # somebody is missing: the deadline closes it
                    self.clock.reach(row.deadline)
                self._insisting(self._one_tick)
            before = phase
        with self.coordinator.database.reading() as connection:
            row = round_store.round_by_session(connection, session)
        for device in devices:
            self._post_of(device)(taking_part.leave, [device.identity.fingerprint])
        opened = row is not None and row.unmasked is not None
        for device in present:
            device.end(counted=opened)

    def _ask(
        self, session: str, device: SimulatedDevice, phase: Phase, before: Phase | None
    ) -> Future[SignedMessage | NothingSaid]:
        """Let a device compute its message of a phase, from the answer to the one before."""
        key, answer = device.identity.fingerprint, None
        if before is not None:
            answer = self._insisting(lambda: self.coordinator.intake.result(session, before, key))
        vector = device.vector(self._model) if phase is Phase.MASKED_INPUT else None
        return self._post_of(device)(taking_part.say, key, phase, answer, vector)

    def _hand_in(self, session: str, phase: Phase, said: SignedMessage | NothingSaid) -> bool:
        """Send a device's message; False when the round is over for it."""
        if isinstance(said, NothingSaid):
            self.happened["devices that refused to go on"] += said is NothingSaid.REFUSED
            return False
        size, now = len(said.payload), self.clock.now
        self._insisting(lambda: self.coordinator.intake.submit(session, phase, said, size, now))
        self.happened["messages of rounds"] += 1
        return True

    def _post_of(self, device: SimulatedDevice) -> Post:
        return self._posts[int.from_bytes(device.identity.fingerprint[:4], "big") % len(self._posts)]

    # -- signed releases ---------------------------------------------------------------------------------------------

    def _release_clients(self) -> dict[bytes, ReleaseClient]:
        root = (self.setting.folder / "online" / "metadata" / "1.root.json").read_bytes()

        def fetch(name: str, limit: int) -> bytes:
            assert self.coordinator.publisher is not None
            found = self.coordinator.publisher.file(name)
            if found is None or len(found) > limit:
                raise Refused(RefusalReason.UNKNOWN_MODEL, "no such release metadata")
            return found

        chosen = self._devices[:VERIFYING]
        return {
            device.identity.fingerprint: ReleaseClient(self.setting.folder / f"tuf-{n}", root, fetch, self.clock)
            for n, device in enumerate(chosen)
        }

    def _verify(self, device: SimulatedDevice, version: int) -> None:
        client = self._verifying.get(device.identity.fingerprint)
        if client is None:
            return
        raw = self.coordinator.models.artifact(version)
        assert raw is not None
        try:
            client.check(version, raw)
            self.happened["signed models verified"] += 1
        except ModelRejectedError:
            self.happened["signed models refused"] += 1

    def _start(self) -> Flask:
        return create_app(
            self.setting.settings,
            initial_model=self._initial,
            clock=self.clock,
            executor=self._executor,
            rng=random.Random(self.setting.seed),
        )
