"""The thread a device runs in: it keeps itself current, tells of changes, and stops when told."""

from __future__ import annotations

import gc
import threading

from keyboard_app.device import DeviceIdentity, DevicePolicy, DeviceRuntime, ScheduleSetting
from tests.keyboard_app.device.world import Device, World


def live(world: World, device: Device) -> DeviceRuntime:
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


def test_a_thread_keeps_the_device_current_and_tells_of_changes(world: World) -> None:
    for _ in range(6):
        world.add_device()
    world.run(world.published())
    device = world.add_device()
    device.runtime.stop()
    runtime = live(world, device)
    current, lines = threading.Event(), []

    def changed(status: object) -> None:
        lines.append(runtime.status.line)
        if runtime.store.current.digest:
            current.set()

    runtime.run_in_background(changed)
    assert current.wait(60.0)
    assert runtime.stop()
    assert len(lines) == len([a for a, b in zip(lines, ["", *lines], strict=False) if a != b])


def test_stopping_ends_the_thread_whatever_it_is_doing(world: World) -> None:
    device = world.add_device(examples=300)
    device.runtime.stop()
    for phase in ("waiting", "checking in", "waiting for a round to begin"):
        runtime = live(world, device)
        seen = threading.Event()

        def changed(status: object, wanted: str = phase, seen: threading.Event = seen) -> None:
            if getattr(status, "phase", "") == wanted:
                seen.set()

        runtime.run_in_background(changed)
        seen.wait(2.0)
        assert runtime.stop(timeout_s=60.0)
        assert threading.active_count() < 50
    gc.collect()
