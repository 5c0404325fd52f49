"""A device that pinned a release root ranks with what was signed, and with nothing else."""

from __future__ import annotations

import msgspec

from coordinator.releases.model_store import add_model, load_artifact
from coordinator.settings import ReleaseSettings
from keyboard_app.device.release_client import ROOT_FILE
from tests.keyboard_app.device.world import Device, World


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
