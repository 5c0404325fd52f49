"""Devices that vanish, a coordinator that dies, files that rot: the round goes on, or ends with a reason."""

from __future__ import annotations

import sqlite3

import pytest

from federated_protocol.messages import Phase
from tests.keyboard_app.device.world import START, Device, World, metric_sums


@pytest.mark.parametrize("phase", list(Phase))
def test_the_round_ends_well_when_two_of_six_vanish_before(world: World, phase: Phase) -> None:
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


def test_too_few_left_abandons_the_round_and_everybody_tries_again(world: World) -> None:
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


@pytest.mark.parametrize("phase", list(Phase))
def test_a_round_goes_on_after_the_coordinator_was_killed_in_it(world: World, phase: Phase) -> None:
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


def test_a_coordinator_that_never_comes_back_is_given_up_and_secrets_are_forgotten(world: World) -> None:
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


def test_an_absent_coordinator_is_asked_less_and_less_often(world: World) -> None:
    device = world.add_device()
    world.kill()
    began, checks = world.clock.now, 0
    while world.clock.now < began + 600.0:
        wait = device.runtime.step()
        checks += device.runtime.status.phase != "waiting"
        world.clock.now += max(wait, 1e-3)
    assert checks <= 12
    world.start()


def test_a_model_spoiled_on_the_way_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(6):
        world.add_device()
    world.run(world.published())
    device = world.add_device()
    real = device.transport.model
    monkeypatch.setattr(device.transport, "model", lambda version: real(version)[:-1] + b"\x55")
    for _ in range(10):
        world.clock.now += max(device.runtime.step(), 1e-3)
    assert device.runtime.store.current.digest == ""
    assert "could not be had" in device.runtime.status.problem


def test_a_corrupt_model_on_disk_is_replaced_at_the_next_check_in(world: World) -> None:
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


def test_a_damaged_log_costs_its_rows_and_nothing_else(world: World) -> None:
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
