"""Whole rounds between real devices and a real coordinator over HTTP on loopback, with one clock moved by hand."""

from __future__ import annotations

import gc
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from coordinator.app import create_app
from coordinator.experiments.evaluation import GateVerdict
from coordinator.experiments.metric_store import sums_of
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.releases.model_store import add_model, load_artifact
from coordinator.releases.rollout import RolloutArms, roll_back, set_percent
from coordinator.service import Coordinator
from coordinator.settings import (
    DeadlineSettings,
    MetricSettings,
    PaceSettings,
    ReleaseSettings,
    RoundSettings,
    Settings,
)
from coordinator.storage.round_store import Round, newest_rounds
from data_logging import Impression, ImpressionLog, Outcome
from federated_protocol import signing
from federated_protocol.enrolment import issue
from federated_protocol.messages import Phase, SessionAnswer, SignedMessage
from federated_protocol.plan import TrainingSetting
from keyboard_app.device import DeviceIdentity, DevicePolicy, DeviceRuntime, ScheduleSetting, SwitchedConditions
from keyboard_app.device.history import Ending, History, Participation
from keyboard_app.device.identity import HOLDBACK, TREATMENT
from keyboard_app.device.participation_states import End, EndKind
from keyboard_app.device.release_client import ROOT_FILE
from keyboard_app.device.round_attendance import Enrolment
from keyboard_app.device.schedule import WaitReason
from keyboard_app.device.transport import Transport
from keyboard_app.suggestions import SuggestionEngine
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from suggestion_model.features import DENSE_FEATURES
from suggestion_model.runtime import Ranker
from suggestion_model.types import Context

START = 1_800_000_000.0
QUERY_LIST = "query,category\nthai restaurants in oakland,restaurants\nflights to denver,travel\n"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


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
    clock: Clock
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
        impression = Impression(
            created_at=log.clock() - 100 + number,
            conversation="c",
            context="anything good to eat around here",
            candidate="thai restaurants in oakland" if number % 2 else "flights to denver",
            category="restaurants",
            baseline_score=1.0,
            features=tuple(rng.normal(size=DENSE_FEATURES).tolist()),
            score=0.0,
            slot=0,
            shown=True,
            explored=number == 0,
            propensity=0.05 if number == 0 else 1.0,
            model_version=version,
            arm=arm,
        )
        log.finish_line(arm, version, impression, Outcome.TAPPED if number % 2 else Outcome.IGNORED)
        log.count_line(arm, version)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.shipped()


@pytest.fixture(scope="module")
def ranker(bundle: Bundle) -> Ranker:
    return Ranker(bundle)


@pytest.fixture
def world(tmp_path: Path, bundle: Bundle, ranker: Ranker) -> Iterator[World]:
    authority = signing.Identity.generate()
    settings = Settings(
        authority_public_key=authority.public_key.hex(),
        database_url=f"sqlite:///{tmp_path}/coordinator.sqlite",
        allow_insecure_demo=True,
        rounds=RoundSettings(
            goal_count=6,
            minimum_count=4,
            overselect=1.0,
            smallest_aggregate=4,
            settle_s=1.0,
            pause_s=2.0,
            pipelined=False,  # the newest round is the one the tests tell of
        ),
        deadlines=DeadlineSettings(selecting_s=6.0, advertise_s=4.0, share_s=4.0, masked_input_s=4.0, unmask_s=4.0),
        training=TrainingSetting(epochs=1, batch_size=16, learning_rate=0.1, weight_cap=8),
        metrics=MetricSettings(newest_versions=2, lowest_score=-2.0, highest_score=2.0, score_step=1.0),
        pace=PaceSettings(shortest_s=1.0, longest_s=5.0),
    )
    world = World(tmp_path, bundle, ranker, settings, authority, Clock())
    world.start()
    yield world
    for device in world.devices:
        device.runtime.stop()
        device.log.close()
    world.kill()


def metric_sums(world: World) -> dict[str, int]:
    """The exact counters of the newest published round, by name."""
    row = next(row for row in world.rounds if row.published_version is not None)
    with world.coordinator.database.reading() as connection:
        return dict(sums_of(connection, row.id))


def test_six_devices_make_a_model_together_and_all_of_them_have_it(world: World) -> None:
    for _ in range(6):
        world.add_device()
    world.run(world.published())
    for device in world.devices:
        status = device.runtime.status
        assert status.rounds_joined == 1
        assert "joined round 1 with 5 others" in status.line
        assert "INSECURE DEMO" in status.line
        assert 0 < status.bytes_up_last_round <= status.bytes_up_total
        assert [entry.ending for entry in device.runtime.history] == [Ending.FINISHED]
        assert [entry.examples for entry in device.runtime.history] == [6]
        assert device.runtime.store.current.version == 1
        assert not np.array_equal(device.runtime.store.current.weights, device.runtime.store.v0.weights)


def test_the_coordinator_learns_the_sums_of_what_was_logged_and_counts_nothing_twice(world: World) -> None:
    for _ in range(6):
        world.add_device(examples=6)
    world.run(world.published())
    sums = metric_sums(world)
    assert sums["examples"] == 36
    assert sums["devices_with_examples"] == 6
    assert sums["treatment/0/lines"] == 6 * 12
    assert sums["treatment/0/offers"] == 36
    assert sums["treatment/0/clicks"] == 18
    scale = world.settings.metrics.propensity_scale
    bins = len(world.settings.score_edges) + 1
    assert sum(sums[f"clicks_by_score/{b}"] for b in range(bins)) == 18 * scale
    assert sum(sums[f"offers_by_score/{b}"] for b in range(bins)) == (5 + 20) * 6 * scale
    assert all(device.log.usage_unreported() == [] for device in world.devices)

    world.clock.now += 3600.0
    world.run(world.published(2))
    again = metric_sums(world)
    assert again["examples"] == 36
    assert again["treatment/0/lines"] == again["treatment/0/offers"] == 0


def test_lines_typed_during_a_round_wait_for_the_next_one(world: World) -> None:
    for _ in range(6):
        world.add_device()
    world.step_until_sending(Phase.SHARE)
    world.devices[0].log.count_line(TREATMENT, 0)
    world.run(world.published())
    assert metric_sums(world)["treatment/0/lines"] == 6 * 12
    assert [row.lines for row in world.devices[0].log.usage_unreported()] == [1]


def test_a_device_that_only_typed_takes_part_with_weight_zero(world: World) -> None:
    for _ in range(5):
        world.add_device()
    silent = world.add_device(examples=0)
    silent.log.count_line(TREATMENT, 0)
    world.run(world.published())
    sums = metric_sums(world)
    assert silent.runtime.status.rounds_joined == 1
    assert sums["devices_with_examples"] == 5
    assert sums["treatment/0/lines"] == 5 * 12 + 1


def test_a_device_with_nothing_to_say_only_asks_for_news(world: World) -> None:
    for _ in range(6):
        world.add_device()
    idle = world.add_device(examples=0)
    world.run(world.published())
    assert idle.runtime.status.rounds_joined == 0
    assert idle.runtime.status.model_version == 1


def test_the_holdback_trains_along_but_keeps_ranking_with_v0(world: World) -> None:
    for _ in range(5):
        world.add_device()
    held = world.add_device(arm=HOLDBACK, engine=True)
    world.run(world.published())
    status = held.runtime.status
    assert (status.arm, status.model_version, status.ranking_version, status.rounds_joined) == (HOLDBACK, 1, 0, 1)
    assert metric_sums(world)["holdback/0/offers"] == 6


def test_the_holdback_ranks_with_what_is_rolled_out_to_all_arms_and_stays_on_it(world: World) -> None:
    for _ in range(5):
        world.add_device()
    held = world.add_device(arm=HOLDBACK, engine=True)
    world.run(world.published())
    assert (held.runtime.status.model_version, held.runtime.status.ranking_version) == (1, 0)
    with world.coordinator.database.writing() as connection:
        set_percent(connection, 1, 100, RolloutArms.ALL, now=world.clock.now, actor="ada", reason="operator")
    write_log(held.log, 6, seed=50, arm=HOLDBACK, version=1)
    world.clock.now += 3600
    world.run(world.published(2))
    status = held.runtime.status
    assert (status.arm, status.model_version, status.ranking_version) == (HOLDBACK, 2, 1)
    assert metric_sums(world)["holdback/1/offers"] == 6
    with world.coordinator.database.writing() as connection:
        roll_back(connection, 1, now=world.clock.now, actor="ada", reason="operator")
    world.clock.now += 3600
    world.run(lambda: held.runtime.status.model_version == 3)
    assert held.runtime.status.ranking_version == 0


def test_a_new_model_ranks_the_very_next_key_press(world: World) -> None:
    for _ in range(5):
        world.add_device()
    device = world.add_device()
    device.runtime.stop()
    typing = world.start_device(device.home, engine=True)
    world.devices[-1] = typing
    engine = typing.runtime._choice._engine
    assert isinstance(engine, SuggestionEngine)
    context = Context("is there a thai restaurant in oakland")
    before = engine.suggest(context)
    world.run(lambda: typing.runtime.status.model_version == 1)
    after = engine.suggest(context)
    assert before is not None
    assert after is not None
    assert (before.model.version, after.model.version) == (0, 1)
    assert before.score != after.score


class TestDropout:
    @pytest.mark.parametrize("phase", list(Phase))
    def test_the_round_ends_well_when_two_of_six_vanish_before(self, world: World, phase: Phase) -> None:
        for _ in range(6):
            world.add_device()
        vanished: list[Device] = []

        class Gone(BaseException):
            pass

        def vanish(sent: Phase) -> None:
            if sent is phase and len(vanished) < 2:
                raise Gone

        for device in world.devices:
            device.transport.before_send = vanish
        while not world.rounds or world.rounds[0].published_version is None:
            try:
                world.run(lambda: bool(world.rounds) and world.rounds[0].published_version is not None)
            except Gone:
                dead = next(d for d in world.devices if d.due <= world.clock.now and d not in vanished)
                vanished.append(dead)
                dead.due = START + 1e9
        assert len(vanished) == 2
        for device in vanished:
            world.devices.remove(device)
        counted = 6 if phase in (Phase.CONFIRM, Phase.UNMASK) else 4
        sums = metric_sums(world)
        assert sums["devices_with_examples"] == counted
        assert sums["treatment/0/clicks"] == 3 * counted
        world.run(world.published())
        for device in vanished:
            device.runtime.stop()
            device.log.close()
            revived = world.start_device(device.home)
            world.devices.append(revived)
        world.run(world.published())

    def test_too_few_left_abandons_the_round_and_everybody_tries_again(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        world.step_until_sending(Phase.SHARE)
        away = world.devices[3:]
        for device in away:
            device.due = world.clock.now + 20.0
        world.run(lambda: (bool(world.rounds) and world.rounds[0].attempt == 2) or len(world.rounds) > 1)
        assert all(device.runtime.status.rounds_joined == 0 for device in world.devices)
        world.run(world.published())
        summed = max(row.inputs or 0 for row in world.rounds)  # whoever comes back too late waits for the round after
        assert summed >= 4
        assert metric_sums(world)["treatment/0/clicks"] == 3 * summed


class TestCoordinatorTrouble:
    @pytest.mark.parametrize("phase", list(Phase))
    def test_a_round_goes_on_after_the_coordinator_was_killed_in_it(self, world: World, phase: Phase) -> None:
        for _ in range(6):
            world.add_device()
        world.step_until_sending(phase)
        world.kill()
        asked = [device.runtime.step() for device in world.devices]
        assert all(wait > 0 for wait in asked)
        world.start()
        world.run(world.published())
        assert metric_sums(world)["treatment/0/clicks"] == 18
        assert all(len(device.runtime.history) == 1 for device in world.devices)

    def test_a_coordinator_that_never_comes_back_is_given_up_and_secrets_are_forgotten(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        world.step_until_sending(Phase.SHARE)
        world.kill()
        device = world.devices[0]
        attendance = device.runtime._attendance
        assert attendance is not None
        participation = attendance.participation
        assert participation is not None
        for _ in range(200):
            world.clock.now += max(device.runtime.step(), 0.1)
            if participation.end is not None:
                break
        assert participation.end is not None
        assert participation._aggregation is None
        assert participation._contribution is None
        assert device.runtime.status.phase == "waiting"
        assert "coordinator" in device.runtime.status.line
        world.start()
        world.run(world.published(), limit_s=4000.0)

    def test_an_absent_coordinator_is_asked_less_and_less_often(self, world: World) -> None:
        device = world.add_device()
        world.kill()
        began, checks = world.clock.now, 0
        while world.clock.now < began + 600.0:
            wait = device.runtime.step()
            checks += device.runtime.status.phase != "waiting"
            world.clock.now += max(wait, 1e-3)
        assert checks <= 12
        world.start()

    def test_a_model_spoiled_on_the_way_is_not_used(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        device = world.add_device()
        real = device.transport.model
        monkeypatch.setattr(device.transport, "model", lambda version: real(version)[:-1] + b"\x55")
        for _ in range(10):
            world.clock.now += max(device.runtime.step(), 1e-3)
        assert device.runtime.store.current.digest == ""
        assert "could not be had" in device.runtime.status.problem


class TestOwnLimits:
    def test_a_plan_below_the_floor_is_not_joined_and_nothing_is_sent(self, world: World) -> None:
        for _ in range(5):
            world.add_device()
        careful = world.add_device()
        careful.runtime.stop()
        careful = world.start_device(careful.home, policy=DevicePolicy())
        sent: list[Phase] = []
        careful.transport.before_send = sent.append
        world.devices[-1] = careful
        world.run(lambda: bool(world.rounds) and world.rounds[0].published_version is not None)
        assert sent == []
        assert "floor" in careful.runtime.status.problem
        assert careful.runtime.history == ()

    def test_one_masked_input_leaves_a_device_in_a_round_and_it_is_noted_before(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        noted: list[int] = []
        watched = world.devices[2]

        def look(phase: Phase) -> None:
            if phase is Phase.MASKED_INPUT:
                noted.append(len(DeviceRuntime.history.fget(watched.runtime)))  # type: ignore[attr-defined]

        watched.transport.before_send = look
        world.run(world.published())
        assert noted == [1]
        for device in world.devices:
            assert len(device.transport.masked_inputs) == 1
        assert len({payload for device in world.devices for _, payload in device.transport.masked_inputs}) == 6

    def test_a_device_that_masked_an_input_for_this_round_before_does_not_mask_another(self, world: World) -> None:
        for _ in range(5):
            world.add_device()
        again = world.add_device()
        again.runtime.stop()
        digest = world.coordinator.models.current().digest
        History(again.home / "rounds.json").put(
            Participation(world.clock.now - 7200, world.settings.task, 1, "an earlier attempt", 0, digest, examples=6)
        )
        again = world.devices[-1] = world.start_device(again.home)
        world.run(lambda: bool(world.rounds) and world.rounds[0].published_version is not None)
        assert again.transport.masked_inputs == []
        assert "already" in again.runtime.status.problem
        assert metric_sums(world)["devices_with_examples"] == 5

    def test_the_floor_of_a_round_is_the_larger_of_the_devices_and_the_plans(self, world: World) -> None:
        for _ in range(5):
            world.add_device()
        trusting = world.add_device()
        trusting.runtime.stop()
        trusting = world.devices[-1] = world.start_device(trusting.home, policy=DevicePolicy().demo(2))
        floors: list[int] = []

        def look(phase: Phase) -> None:
            attendance = trusting.runtime._attendance
            assert attendance is not None
            assert attendance.participation is not None
            assert attendance.participation._aggregation is not None
            floors.append(attendance.participation._aggregation._rules.floor)
            if phase in (Phase.CONFIRM, Phase.UNMASK):
                assert attendance.participation._contribution is not None
                assert len(attendance.participation._contribution.vector) == 0

        trusting.transport.before_send = look
        world.run(world.published())
        assert set(floors) == {world.settings.rounds.smallest_aggregate} == {4}

    def test_a_device_rests_after_its_input_even_if_nothing_is_said_to_be_opened_and_after_a_restart(
        self, world: World
    ) -> None:
        """Or a coordinator that calls every round abandoned could have a sum a minute over the same data."""
        device = world.add_device()
        attendance = device.runtime._attendance
        assert attendance is not None
        attendance.equipment.history.put(
            Participation(world.clock.now, world.settings.task, 1, "a round", 0, "ab" * 32, examples=6)
        )
        attendance._conclude(End(EndKind.ABANDONED, "the round was abandoned", selected=True, contributed=True))
        device.runtime.stop()
        again = world.start_device(device.home)
        for runtime in (device.runtime, again.runtime):
            found = runtime._attendance
            assert found is not None
            world.clock.now = START + 1800
            assert found._decide(world.clock.now).reason is WaitReason.RESTING
            world.clock.now = START + 3601
            assert found._decide(world.clock.now).wants_round

    def test_conditions_that_end_make_a_device_leave_before_it_is_committed(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        world.step_until_sending(Phase.ADVERTISE)
        leaver = world.devices[0]
        leaver.conditions.set(charging=False)
        world.run(lambda: bool(world.rounds) and world.rounds[0].published_version is not None)
        assert leaver.transport.masked_inputs == []
        world.run(lambda: leaver.runtime.status.model_version == 1)
        assert "not charging" in leaver.runtime.status.line
        assert [row.lines for row in leaver.log.usage_unreported()] == [12]

    def test_a_device_without_a_certificate_waits_for_one(self, world: World) -> None:
        device = world.add_device()
        (device.home / "certificate").rename(device.home / "later")
        waiting = world.start_device(device.home)
        assert waiting.runtime.step() == 0.0, "what can be learned for the owner alone needs no certificate"
        assert waiting.runtime.step() > 1.0
        assert "get a certificate" in waiting.runtime.status.line
        (device.home / "later").rename(device.home / "certificate")
        waiting.runtime.step()
        assert waiting.runtime.status.phase == "checking in"

    def test_a_next_key_that_cannot_be_had_yet_keeps_no_device_from_rounds(self, world: World) -> None:
        device = world.add_device()
        attendance = device.runtime._attendance
        assert attendance is not None
        attendance._enrolment = Enrolment("http://127.0.0.1:9", "token")
        world.clock.now = START + 900_000  # in the last third of the certificate's time
        while device.runtime.status.phase != "checking in":
            world.clock.now += max(device.runtime.step(), 1e-3)
        assert "next identity key could not be had" in attendance._trouble.sentence
        device.runtime.step()
        assert device.transport.traffic.up > 0

    def test_an_expired_certificate_is_noticed_and_no_request_is_wasted(self, world: World) -> None:
        device = world.add_device()
        world.clock.now = START + 2e6
        device.runtime.step()
        assert "expired" in device.runtime.status.line
        assert device.transport.traffic.up == 0


class TestLocalDamage:
    def test_a_corrupt_model_on_disk_is_replaced_at_the_next_check_in(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        world.run(world.published())
        device = world.devices[0]
        device.runtime.stop()
        next(device.home.glob("models/1-*.model")).write_bytes(b"bit rot")
        revived = world.start_device(device.home)
        assert revived.runtime.status.model_version == 0
        world.devices[0] = revived
        world.run(lambda: revived.runtime.status.model_version == 1)

    def test_a_damaged_log_costs_its_rows_and_nothing_else(self, world: World) -> None:
        for _ in range(6):
            world.add_device()
        device = world.devices[0]
        device.runtime.stop()
        device.log.close()
        for side in ("-wal", "-shm"):
            (device.home / f"log.sqlite{side}").unlink(missing_ok=True)
        (device.home / "log.sqlite").write_bytes(b"not a database at all" * 500)
        with pytest.raises(sqlite3.DatabaseError):
            sqlite3.connect(device.home / "log.sqlite").execute("SELECT 1 FROM sqlite_master")
        world.devices[0] = world.start_device(device.home)
        world.run(world.published())
        assert metric_sums(world)["devices_with_examples"] == 5


class TestBackground:
    def live(self, world: World, device: Device) -> DeviceRuntime:
        """The same device on real time."""
        return DeviceRuntime(
            device.home,
            world.url,
            DeviceIdentity.open(device.home),
            DevicePolicy().demo(4),
            world.bundle,
            None,
            device.log,
            device.conditions,
            clock=world.clock,
            schedule=ScheduleSetting.demo(),
        )

    def test_a_thread_keeps_the_device_current_and_tells_of_changes(self, world: World) -> None:
        device = world.add_device()
        device.runtime.stop()
        runtime = self.live(world, device)
        current, lines = threading.Event(), []

        def changed(status: object) -> None:
            lines.append(runtime.status.line)
            if runtime.store.current.digest:
                current.set()

        runtime.run_in_background(changed)
        assert current.wait(10.0)
        assert runtime.stop()
        assert len(lines) == len([a for a, b in zip(lines, ["", *lines], strict=False) if a != b])

    def test_stopping_ends_the_thread_whatever_it_is_doing(self, world: World) -> None:
        device = world.add_device(examples=300)
        device.runtime.stop()
        for phase in ("waiting", "checking in", "waiting for a round to begin"):
            runtime = self.live(world, device)
            seen = threading.Event()

            def changed(status: object, wanted: str = phase, seen: threading.Event = seen) -> None:
                if getattr(status, "phase", "") == wanted:
                    seen.set()

            runtime.run_in_background(changed)
            seen.wait(2.0)
            assert runtime.stop(timeout_s=60.0)
            assert threading.active_count() < 50
        gc.collect()


def test_an_owner_who_sends_nothing_gets_new_models_and_is_in_no_round(world: World) -> None:
    for _ in range(6):
        world.add_device()
    quiet = world.add_device()
    quiet.runtime.prefer(sending=False)
    world.run(world.published())
    assert quiet.runtime.status.model_version == 1
    assert quiet.runtime.history == ()
    assert quiet.transport.masked_inputs == []
    assert quiet.log.usage_unreported() != []


def test_a_stop_before_the_masked_input_leaves_the_round_and_one_after_it_sees_it_through(world: World) -> None:
    for _ in range(6):
        world.add_device()
    early, late = world.devices[:2]
    world.step_until_sending(Phase.SHARE)
    early.runtime.stop_training()
    world.run(lambda: len(late.transport.masked_inputs) == 1)
    late.runtime.stop_training()
    world.run(world.published())
    assert early.transport.masked_inputs == []
    assert "stopped by you" in early.runtime.status.line
    assert [entry.ending for entry in late.runtime.history] == [Ending.FINISHED]
    assert late.runtime.history[0].privacy == "no DP guarantee"


# -- signed releases ---------------------------------------------------------------------------------------------------


def serve_signed(world: World) -> None:
    """Restart the coordinator with release keys; devices added from now on pin its root."""
    from coordinator.releases import signing_keys

    online = world.folder / "online"
    signing_keys.make_keys(world.folder / "offline", online, world.clock.now, targets={})
    world.kill()
    world.settings = msgspec.structs.replace(world.settings, releases=ReleaseSettings(keys=str(online)))
    world.start()


def add_pinned_device(world: World) -> Device:
    home = world.folder / f"device-{len(world.devices)}"
    home.mkdir()
    pinned = (world.folder / "online" / "metadata" / "1.root.json").read_bytes()
    (home / ROOT_FILE).write_bytes(pinned)
    return world.add_device()


def test_devices_with_a_pinned_root_learn_together_from_signed_models(world: World) -> None:
    serve_signed(world)
    for _ in range(6):
        add_pinned_device(world)
    world.run(world.published(1))
    for device in world.devices:
        assert device.runtime.store.current.version == 1
        assert (device.home / "releases" / "rounds.json").exists()
        assert device.runtime.status.problem == ""


def test_a_model_nobody_signed_is_not_ranked_with(world: World) -> None:
    serve_signed(world)
    device = add_pinned_device(world)
    with world.coordinator.database.reading() as connection:
        v0, _ = load_artifact(connection, 0)
    world.kill()
    world.settings = msgspec.structs.replace(world.settings, releases=ReleaseSettings())
    world.start()
    with world.coordinator.database.writing() as connection:
        forged = msgspec.structs.replace(v0, version=1, threshold=-100.0)
        assert add_model(connection, forged, optimizer_state=None, round_id=None, now=1.0)
    device.conditions.set(idle=False)
    world.run(lambda: device.runtime.status.problem != "")
    assert "no signed releases" in device.runtime.status.problem
    assert device.runtime.store.current.version == 0


def test_devices_judge_a_version_on_new_offers_before_any_of_them_ranks_with_it(world: World) -> None:
    world.kill()
    gate = ReleaseSettings(evaluation_gate=True, evaluation_devices=4)
    world.settings = msgspec.structs.replace(world.settings, releases=gate)
    world.start()
    for _ in range(5):
        world.add_device()
    world.run(lambda: bool(world.rounds) and world.rounds[0].published_version == 1)
    assert {device.runtime.status.model_version for device in world.devices} == {0}
    for number, device in enumerate(world.devices):
        write_log(device.log, 6, seed=100 + number, arm=TREATMENT)
    world.clock.now += 3600  # all of them have rested
    for device in world.devices:
        device.due = world.clock.now
    world.run(world.published(1))
    with world.coordinator.database.reading() as connection:
        found = evaluation_of(connection, world.settings, 1)
    assert found is not None
    assert (found.verdict, found.devices, found.baseline_version) == (GateVerdict.PASSED, 5, 0)
    assert found.clicks > 0
    assert all(device.log.usage_unreported("later") for device in world.devices)  # judging claimed nothing
