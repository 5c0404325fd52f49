"""What a device does not do whatever it is asked: its floor, one masked input, its rest, its owner's word."""

from __future__ import annotations

from federated_protocol.messages import Phase
from keyboard_app.device import DevicePolicy, DeviceRuntime
from keyboard_app.device.history import Ending, History, HistoryEntry
from keyboard_app.device.participation_states import End, EndKind
from keyboard_app.device.round_attendance import Enrolment
from keyboard_app.device.schedule import WaitReason
from tests.keyboard_app.device.world import START, World, metric_sums


def test_a_plan_below_the_floor_is_not_joined_and_nothing_is_sent(world: World) -> None:
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


def test_one_masked_input_leaves_a_device_in_a_round_and_it_is_noted_before(world: World) -> None:
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


def test_a_device_that_masked_an_input_for_this_round_before_does_not_mask_another(world: World) -> None:
    for _ in range(5):
        world.add_device()
    again = world.add_device()
    again.runtime.stop()
    digest = world.coordinator.models.current().digest
    History(again.home / "rounds.json").put(
        HistoryEntry(world.clock.now - 7200, world.settings.task, 1, "an earlier attempt", 0, digest, examples=6)
    )
    again = world.devices[-1] = world.start_device(again.home)
    world.run(lambda: bool(world.rounds) and world.rounds[0].published_version is not None)
    assert again.transport.masked_inputs == []
    assert "already" in again.runtime.status.problem
    assert metric_sums(world)["devices_with_examples"] == 5


def test_the_floor_of_a_round_is_the_larger_of_the_devices_and_the_plans(world: World) -> None:
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


def test_a_device_rests_after_its_input_even_if_nothing_is_said_to_be_opened_and_after_a_restart(world: World) -> None:
    """Or a coordinator that calls every round abandoned could have a sum a minute over the same data."""
    device = world.add_device()
    attendance = device.runtime._attendance
    assert attendance is not None
    attendance.equipment.history.put(
        HistoryEntry(world.clock.now, world.settings.task, 1, "a round", 0, "ab" * 32, examples=6)
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


def test_conditions_that_end_make_a_device_leave_before_it_is_committed(world: World) -> None:
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


def test_a_device_without_a_certificate_waits_for_one(world: World) -> None:
    device = world.add_device()
    (device.home / "certificate").rename(device.home / "later")
    waiting = world.start_device(device.home)
    assert waiting.runtime.step() == 0.0, "what can be learned for the owner alone needs no certificate"
    assert waiting.runtime.step() > 1.0
    assert "get a certificate" in waiting.runtime.status.line
    (device.home / "later").rename(device.home / "certificate")
    waiting.runtime.step()
    assert waiting.runtime.status.phase == "checking in"


def test_a_next_key_that_cannot_be_had_yet_keeps_no_device_from_rounds(world: World) -> None:
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


def test_an_expired_certificate_is_noticed_and_no_request_is_wasted(world: World) -> None:
    device = world.add_device()
    world.clock.now = START + 2e6
    device.runtime.step()
    assert "expired" in device.runtime.status.line
    assert device.transport.traffic.up == 0


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
