"""Releases by The Update Framework: what a device with a pinned root accepts, and every attack it refuses."""

from __future__ import annotations

import json
import shutil
import time

import msgspec
import pytest

from coordinator.errors import ReleaseError
from coordinator.operation.high_water import HighWater
from coordinator.releases import ModelStore, signing_keys
from coordinator.releases.metadata_publisher import MODELS_SIGNED, MetadataPublisher
from coordinator.releases.model_store import add_model
from coordinator.releases.rollout import RolloutArms, roll_back, set_percent
from coordinator.storage import Database
from federated_protocol.messages import RefusalReason
from keyboard_app.device.model_store import ModelRejectedError
from keyboard_app.device.release_client import ROOT_FILE, PinnedRootError, ReleaseClient, pin_root
from keyboard_app.device.transport import BadAnswer, CoordinatorUnreachable, Refused

DAY = 86_400.0
START = 1_800_000_000.0


class Now:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.shift = 0.0

    def __call__(self):
        return START + self.shift


class World:
    """Keys in two folders, a database with models, and devices that fetch from a publisher."""

    def __init__(self, folder, initial_model):
        self.folder, self.clock = folder, Now()
        self.offline, self.online = folder / "offline", folder / "online"
        signing_keys.make_keys(self.offline, self.online, self.clock(), targets={"bundle/tokenizer.model": b"tokens"})
        self.pinned = signing_keys.signed_offline(self.online, "root")[0][1]
        self.database = Database(f"sqlite:///{folder / 'store.sqlite'}")
        self.models = ModelStore(self.database)
        self.models.ensure_initial(initial_model, self.clock())
        self.initial = initial_model
        self.publisher = MetadataPublisher(self.database, self.online, self.clock)
        self.files = {}

    def publish(self, version, threshold=None):
        artifact = msgspec.structs.replace(
            self.initial, version=version, parent=version - 1, threshold=threshold or version / 10
        )
        with self.database.writing() as connection:
            assert add_model(connection, artifact, optimizer_state=None, round_id=None, now=self.clock())
        return self.models.artifact(version)

    def fetch(self, name, largest):
        content = self.files.get(name) or self.publisher.file(name)
        if content is None:
            raise Refused(RefusalReason.UNKNOWN_MODEL)
        return content

    def device(self, name="device"):
        home = self.folder / name
        home.mkdir(exist_ok=True)
        (home / ROOT_FILE).write_bytes(self.pinned)
        return ReleaseClient.of(home, self.fetch, self.clock)

    def freeze(self):
        """Serve what is served now for ever."""
        self.publisher.bring_up_to_date()
        names = [f"{v}.{role}.json" for role in ("root", "targets", "snapshot", "rounds") for v in range(1, 30)]
        for name in ["timestamp.json", *names]:
            if (content := self.publisher.file(name)) is not None:
                self.files[name] = content


@pytest.fixture
def world(tmp_path, initial_model):
    made = World(tmp_path, initial_model)
    yield made
    made.database.close()


def test_a_device_accepts_what_the_keys_signed(world):
    device = world.device()
    for version in (1, 2, 3):
        device.check(version, world.publish(version))
    device.check(1, world.models.artifact(1))


def test_a_changed_byte_or_another_version_is_refused(world):
    raw = world.publish(1)
    device = world.device()
    with pytest.raises(ModelRejectedError, match="not the signed one"):
        device.check(1, raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(ModelRejectedError, match="not among the signed"):
        device.check(2, raw)


def test_a_device_without_a_pinned_root_checks_nothing(tmp_path):
    assert ReleaseClient.of(tmp_path, lambda name, largest: b"") is None


def test_a_root_is_pinned_once_and_no_other_takes_its_place(world, tmp_path):
    home = tmp_path / "new"
    home.mkdir()
    raw = world.publish(1)
    for _ in range(2):
        pin_root(home, world.pinned)
    ReleaseClient.of(home, world.fetch, world.clock).check(1, raw)
    signing_keys.make_keys(tmp_path / "theirs", tmp_path / "theirs", world.clock(), targets={})
    theirs = signing_keys.signed_offline(tmp_path / "theirs", "root")[0][1]
    with pytest.raises(PinnedRootError, match="another release root"):
        pin_root(home, theirs)
    assert (home / ROOT_FILE).read_bytes() == world.pinned
    targets = signing_keys.signed_offline(world.online, "targets")[0][1]
    for nonsense in (b"", b"{}", b"[]", targets):
        with pytest.raises(PinnedRootError, match="no root metadata"):
            pin_root(tmp_path / "other", nonsense)


def test_a_demos_root_is_pinned_in_demos_only_and_stays_marked_through_rotation(world, tmp_path):
    folders = tmp_path / "demo-offline", tmp_path / "demo-online"
    signing_keys.make_keys(*folders, world.clock(), targets={}, insecure_demo=True)
    signing_keys.rotate(*folders, "root", world.clock())
    for number, (_, root) in enumerate(signing_keys.signed_offline(folders[1], "root")):
        home = tmp_path / f"home-{number}"
        with pytest.raises(PinnedRootError, match="INSECURE DEMO"):
            pin_root(home, root)
        pin_root(home, root, insecure_demo=True)
        assert (home / ROOT_FILE).read_bytes() == root


def test_going_back_to_older_metadata_is_refused(world):
    raw = world.publish(1)
    device = world.device()
    world.freeze()
    old, world.files = world.files, {}
    device.check(2, world.publish(2))
    world.files = old
    with pytest.raises(ModelRejectedError, match="older than what was seen"):
        device.check(1, raw)


def test_old_news_for_ever_is_refused_once_it_expires(world):
    world.clock.shift = -3 * DAY
    raw = world.publish(1)
    world.freeze()
    world.clock.shift = 0.0
    with pytest.raises(ModelRejectedError, match="out of date"):
        world.device().check(1, raw)


def test_the_publisher_signs_anew_before_anything_expires(world):
    world.clock.shift = -3 * DAY
    raw = world.publish(1)
    world.publisher.bring_up_to_date()
    world.clock.shift = 0.0
    world.device().check(1, raw)


def test_mixing_two_releases_is_refused(world):
    world.publish(1)
    world.freeze()
    first, world.files = world.files, {}
    raw = world.publish(2)
    world.freeze()
    world.files["2.snapshot.json"] = first["1.snapshot.json"]
    with pytest.raises(ModelRejectedError):
        world.device().check(2, raw)
    world.files = {}
    world.files["2.rounds.json"] = first["1.rounds.json"]
    with pytest.raises(ModelRejectedError):
        world.device("another").check(2, raw)


def test_metadata_of_other_keys_is_refused(world, tmp_path, initial_model):
    (tmp_path / "forger").mkdir()
    forger = World(tmp_path / "forger", initial_model)
    raw = forger.publish(1)
    device = world.device()
    world.publisher = forger.publisher
    with pytest.raises(ModelRejectedError, match="keys this device does not trust"):
        device.check(1, raw)
    forger.database.close()


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "rounds"])
def test_every_role_can_be_rotated_while_devices_follow(world, role):
    device = world.device()
    device.check(1, world.publish(1))
    before = {key.key_id for key in signing_keys.list_keys(world.offline, world.online) if key.role == role}
    signing_keys.rotate(world.offline, world.online, role, world.clock())
    after = {key.key_id for key in signing_keys.list_keys(world.offline, world.online) if key.role == role}
    assert not before & after
    device.check(2, world.publish(2))
    world.device("new").check(2, world.models.artifact(2))


def test_a_revoked_online_key_signs_nothing_that_devices_accept(world):
    raw = world.publish(1)
    stolen = world.folder / "stolen"
    shutil.copytree(world.online, stolen)
    (key,) = [key for key in signing_keys.list_keys(None, world.online) if key.role == "rounds"]
    device = world.device()
    device.check(1, raw)
    assert signing_keys.revoke(world.offline, world.online, key.key_id, world.clock()) == "rounds"
    device.check(2, world.publish(2))
    (stolen / "versions.json").write_text('{"roles": {"rounds": 50, "snapshot": 50, "timestamp": 50}, "model": 0}')
    database = Database(f"sqlite:///{world.folder / 'thief.sqlite'}")
    ModelStore(database).ensure_initial(world.initial, world.clock())
    thief = MetadataPublisher(database, stolen, world.clock)
    thief.bring_up_to_date()
    world.publisher = thief
    with pytest.raises(ModelRejectedError):
        device.check(3, raw)
    database.close()


def test_offline_approvals_reach_devices_and_the_online_path_stays_apart(world):
    version = signing_keys.approve(world.offline, world.online, {"catalog/2.json.gz": b"places"}, world.clock())
    assert version == 2
    world.device().check(1, world.publish(1))
    with pytest.raises(ReleaseError, match="online role"):
        signing_keys.approve(world.offline, world.online, {"rounds/9.model": b""}, world.clock())


def test_metadata_not_signed_offline_is_not_adopted(world):
    world.publisher.bring_up_to_date()
    forged = json.loads(signing_keys.signed_offline(world.online, "root")[-1][1])
    forged["signed"]["version"] = 2
    (world.online / "metadata" / "2.root.json").write_text(json.dumps(forged))
    with pytest.raises(ReleaseError, match="not signed by the keys in force"):
        world.publisher.bring_up_to_date()


def test_a_withdrawn_version_is_no_longer_signed(world):
    device = world.device()
    raw = world.publish(1)
    device.check(1, raw)
    with world.database.writing() as connection:
        again = roll_back(connection, 1, now=world.clock(), actor="test", reason="ctr_dropped")
    device.check(again, world.models.artifact(again))
    with pytest.raises(ModelRejectedError, match="not among the signed"):
        device.check(1, raw)


def test_versions_never_fall_below_what_was_used_whatever_the_database_says(world):
    device = world.device()
    device.check(1, world.publish(1))
    world.publish(2)
    world.publisher.bring_up_to_date()
    used = HighWater.read(world.online).roles
    lost = Database(f"sqlite:///{world.folder / 'restored.sqlite'}")
    ModelStore(lost).ensure_initial(world.initial, world.clock())
    restored = MetadataPublisher(lost, world.online, world.clock)
    restored.bring_up_to_date()
    assert all(HighWater.read(world.online).roles[role] > version for role, version in used.items())
    world.publisher = restored
    device.check(0, world.models.artifact(0))
    lost.close()


def test_a_coordinator_that_is_away_is_no_reason_to_distrust(world):
    def away(name, largest):
        raise CoordinatorUnreachable("no connection")

    def garbled(name, largest):
        raise BadAnswer("too long")

    raw = world.publish(1)
    (world.folder / "device").mkdir()
    with pytest.raises(CoordinatorUnreachable):
        ReleaseClient(world.folder / "device" / "a", world.pinned, away).check(1, raw)
    with pytest.raises(BadAnswer):
        ReleaseClient(world.folder / "device" / "b", world.pinned, garbled).check(1, raw)
    with pytest.raises(ModelRejectedError, match="cannot be read"):
        ReleaseClient(world.folder / "device" / "c", world.pinned, lambda n, m: b"no json").check(1, raw)


def test_a_root_threshold_needs_as_many_keys(tmp_path, initial_model):
    offline, online = tmp_path / "off", tmp_path / "on"
    signing_keys.make_keys(offline, online, time.time(), root_keys=3, root_threshold=2, targets={})
    keys = sorted(offline.glob("root-*.pem"))
    for path in keys[:2]:
        path.rename(path.with_suffix(".away"))
    with pytest.raises(ReleaseError, match="too few root keys"):
        signing_keys.rotate(offline, online, "timestamp", time.time())
    keys[0].with_suffix(".away").rename(keys[0])
    signing_keys.rotate(offline, online, "timestamp", time.time())
    with pytest.raises(ReleaseError, match="holds keys already"):
        signing_keys.make_keys(offline, online, time.time(), targets={})


def test_private_keys_are_for_their_owner_alone_and_offline_ones_stay_offline(world):
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*world.offline.glob("*.pem"), *world.online.glob("*.pem")])
    assert {path.name.split("-")[0] for path in world.online.glob("*.pem")} == {"snapshot", "timestamp", "rounds"}
    assert {path.name.split("-")[0] for path in world.offline.glob("*.pem")} == {"root", "targets"}


def test_what_the_holdback_stays_on_is_signed_however_old_it_is(world):
    raw = {version: world.publish(version) for version in range(1, MODELS_SIGNED + 3)}
    with world.database.writing() as connection:
        set_percent(connection, 1, 100, RolloutArms.ALL, now=world.clock(), actor="ada", reason="operator")
    device = world.device()
    device.check(1, raw[1])
    device.check(MODELS_SIGNED + 2, raw[MODELS_SIGNED + 2])
    with pytest.raises(ModelRejectedError):
        device.check(2, raw[2])
    with world.database.writing() as connection:
        set_percent(connection, 2, 100, RolloutArms.ALL, now=world.clock(), actor="ada", reason="operator")
    world.device("another").check(2, raw[2])
