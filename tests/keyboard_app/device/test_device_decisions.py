"""What an owner decides about learning: pause, send nothing, a model of one's own, stop, roll back, forget."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from data_logging import ImpressionLog, Outcome
from federated_protocol import wire
from federated_protocol.messages import ModelArtifact, ModelNotice
from keyboard_app.device import DeviceIdentity, DevicePolicy, DeviceRuntime, SwitchedConditions
from keyboard_app.device.history import Ending, History, HistoryEntry
from keyboard_app.device.identity import TREATMENT
from keyboard_app.device.preferences import PreferenceFile
from keyboard_app.device.schedule import ScheduleSetting, WaitReason
from suggestion_model.bundle import Bundle
from suggestion_model.features import DENSE_FEATURES
from suggestion_model.runtime import Ranker
from suggestion_model.types import Head
from tests.clocks import SettableClock
from tests.keyboard_app.offers import offer

START = 1_800_000_000.0


class Engine:
    """Remembers what it was told to rank with."""

    def __init__(self) -> None:
        self.version = -1
        self.weights: NDArray[np.float32] = np.zeros(0, np.float32)
        self.tastes: dict[str, float] = {}

    def use_model(
        self,
        version: int,
        weights: NDArray[np.float32],
        threshold: float,
        arm: str,
        tastes: Mapping[str, float],
        head: Head,
    ) -> None:
        self.version, self.weights, self.tastes = version, weights, dict(tastes)


class Owned:
    """A device without a coordinator, and its owner's log."""

    def __init__(self, home: Path, bundle: Bundle, ranker: Ranker) -> None:
        identity = DeviceIdentity.open(home)
        while identity.arm() != TREATMENT:
            (home / "identity.key").unlink()
            identity = DeviceIdentity.open(home)
        self.home, self.bundle, self.clock = home, bundle, SettableClock(START)
        self.log = ImpressionLog(home / "log.sqlite", clock=self.clock)
        self.engine, self.conditions = Engine(), SwitchedConditions()
        self.runtime = DeviceRuntime(
            home,
            None,
            identity,
            DevicePolicy(),
            bundle,
            self.engine,
            self.log,
            self.conditions,
            self.clock,
            monotonic=self.clock,
            schedule=ScheduleSetting(),
            training_ranker=ranker,
            rng=random.Random(1),
        )

    def offers(self, count: int = 20) -> None:
        rng = np.random.default_rng(3)
        for number in range(count):
            tapped = number % 2 == 1
            features = rng.normal(size=DENSE_FEATURES) * 0.1
            line = self.bundle.card.baseline_logit
            features[0] = -line.intercept / line.slope  # the shared model expects every second one to be tapped
            self.log.finish_line(
                TREATMENT,
                0,
                offer(
                    created_at=self.clock() - 1000 + number,
                    candidate="thai restaurants in oakland" if tapped else "flights to denver",
                    category="restaurants" if tapped else "travel",
                    features=tuple(features.tolist()),
                ),
                Outcome.TAPPED if tapped else Outcome.IGNORED,
            )

    def admit(self, version: int) -> None:
        weights = self.bundle.weights0 + np.float32(version / 100)
        raw = wire.encode(
            ModelArtifact(version, version - 1, self.bundle.digest, weights.astype("<f4").tobytes(), -1.0)
        )
        self.runtime.store.admit(raw, ModelNotice(version, hashlib.sha256(raw).hexdigest()))
        self.runtime._arrived(self.runtime.store.current)

    def steps(self, count: int = 4) -> None:
        for _ in range(count):
            self.runtime.step()


@pytest.fixture
def owned(tmp_path: Path, bundle: Bundle, ranker: Ranker) -> Iterator[Owned]:
    device = Owned(tmp_path, bundle, ranker)
    yield device
    device.runtime.stop()
    device.log.close()


def test_a_device_on_its_own_says_so_and_ranks_with_what_it_has(owned: Owned) -> None:
    owned.steps()
    assert "no coordinator" in owned.runtime.status.line
    assert owned.runtime.status.alone
    assert owned.engine.version == 0
    assert owned.runtime.status.next_opportunity_at is None


def test_the_owners_taste_is_learned_unasked_ranks_at_once_and_can_be_declined(owned: Owned) -> None:
    owned.offers()
    owned.steps()
    personal = owned.runtime.personal_model
    assert personal is not None
    assert personal.kept
    assert personal.examples == 20
    assert personal.loss_personal < personal.loss_shared
    assert owned.runtime.status.personal
    assert owned.engine.tastes == personal.tastes
    assert personal.tastes["restaurants"] > 1 > personal.tastes["travel"]
    assert np.array_equal(owned.engine.weights, owned.bundle.weights0), "the shared model is as it was"
    owned.runtime.prefer(personal=False)
    assert not owned.runtime.status.personal
    assert owned.engine.tastes == {}


def test_taps_that_do_not_go_by_category_move_next_to_nothing(owned: Owned) -> None:
    owned.offers()
    # The same taps as before, but no longer by category.
    for row in owned.log.impressions():
        owned.log.resolve(row.id, Outcome.TAPPED if row.id % 4 < 2 else Outcome.IGNORED)
    owned.steps()
    personal = owned.runtime.personal_model
    assert personal is not None
    assert personal.loss_personal >= personal.loss_shared
    assert all(abs(taste - 1.0) < 0.02 for taste in owned.engine.tastes.values())


def test_sending_nothing_still_learns_for_the_owner(owned: Owned) -> None:
    owned.offers()
    owned.runtime.prefer(sending=False)
    owned.steps()
    assert owned.runtime.status.personal
    assert owned.runtime.status.reason is WaitReason.NOT_SENDING


def test_pausing_records_nothing_and_trains_nothing_until_it_is_lifted(owned: Owned) -> None:
    owned.runtime.prefer(learning=False)
    owned.offers()
    owned.steps()
    assert owned.log.summary().impressions == 0
    assert owned.runtime.personal_model is None
    assert owned.runtime.status.reason is WaitReason.PAUSED
    owned.runtime.prefer(learning=True)
    owned.offers()
    owned.steps()
    assert owned.runtime.personal_model is not None


def test_nothing_is_trained_while_a_condition_is_missing(owned: Owned) -> None:
    owned.offers()
    owned.conditions.set(charging=False)
    owned.steps()
    assert owned.runtime.personal_model is None
    assert owned.runtime.status.conditions.missing == "not charging"
    owned.conditions.set(charging=True)
    owned.steps()
    assert owned.runtime.personal_model is not None


def test_a_stop_ends_learning_at_once_uses_nothing_of_it_and_rests(owned: Owned) -> None:
    owned.offers()
    asked, seen = owned.runtime._must_stop, []

    def stop() -> bool:
        seen.append(1)
        assert owned.runtime.status.can_stop
        owned.runtime.stop_training()
        return asked()

    owned.runtime._must_stop = stop  # type: ignore[method-assign]
    owned.steps(1)
    assert owned.runtime.personal_model is None
    owned.steps(5)
    assert len(seen) == 1, "it rests"
    owned.runtime._must_stop = asked  # type: ignore[method-assign]
    owned.clock.now += 2 * 3600
    owned.steps(2)
    assert owned.runtime.personal_model is not None


def test_the_same_offers_are_not_trained_on_again_and_again(owned: Owned) -> None:
    owned.offers()
    owned.steps()
    first = owned.runtime.personal_model
    assert first is not None
    owned.clock.now += 10 * 3600
    owned.steps(5)
    assert owned.runtime.personal_model is first


def test_a_taste_survives_a_restart_and_waits_for_a_look_at_each_new_model(
    owned: Owned, bundle: Bundle, ranker: Ranker
) -> None:
    owned.offers()
    owned.steps()
    again = Owned(owned.home, bundle, ranker)
    assert again.runtime.status.personal
    assert again.engine.tastes == owned.engine.tastes
    again.admit(1)
    assert again.engine.version == 1
    assert again.engine.tastes == {}, "until it is learned anew"
    again.log.close()


def test_a_damaged_personal_model_is_set_aside(owned: Owned, bundle: Bundle, ranker: Ranker) -> None:
    owned.offers()
    owned.steps()
    (owned.home / "models" / "personal.msgpack").write_bytes(b"nonsense")
    again = Owned(owned.home, bundle, ranker)
    assert not again.runtime.status.personal
    assert list(owned.home.glob("models/personal.msgpack.corrupt-*"))
    again.log.close()


def test_rolling_back_holds_against_newer_models_and_restarts(owned: Owned, bundle: Bundle, ranker: Ranker) -> None:
    for version in (1, 2):
        owned.admit(version)
    previous = owned.runtime.store.previous
    assert previous is not None
    owned.runtime.roll_back(previous)
    assert owned.engine.version == 1
    assert "rolled back to 1" in owned.runtime.status.line
    for version in (3, 4):
        owned.admit(version)
    assert owned.engine.version == 1, "it stays although two newer ones arrived"
    again = Owned(owned.home, bundle, ranker)
    assert again.engine.version == 1
    assert again.runtime.status.pinned
    again.runtime.roll_back(again.runtime.store.v0)
    assert again.engine.version == 0
    again.runtime.roll_back(None)
    assert again.engine.version == 4
    assert len(list(owned.home.glob("models/*.model"))) == 2, "what nobody needs is swept away"
    again.log.close()


def test_a_damaged_file_of_decisions_counts_as_a_no(tmp_path: Path) -> None:
    PreferenceFile(tmp_path / "preferences.json").change(sending=False)
    assert not PreferenceFile(tmp_path / "preferences.json").current.sending
    (tmp_path / "preferences.json").write_bytes(b'{"sending": tr')
    damaged = PreferenceFile(tmp_path / "preferences.json")
    assert damaged.damaged
    assert not damaged.current.sending
    assert not damaged.current.learning
    assert (tmp_path / "preferences.json.corrupt-1").exists()


def test_a_deleted_round_leaves_nothing_to_see_but_still_guards_against_sending_twice(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    history = History(path)
    entry = HistoryEntry(100.0, "suggestions", 3, "s-3-1", 2, "ab" * 32, examples=7, bytes_up=5)
    plan: Any = SimpleNamespace(session="another", task=entry.task, round=entry.round)
    history.put(entry)
    history.delete("s-3-1", now=200.0)
    assert history.entries == ()
    assert History(path).entries == ()
    assert history.has_contributed(plan, now=300.0)
    history.put(msgspec.structs.replace(entry, ending=Ending.FINISHED))
    assert history.entries == (), "its ending does not bring it back"
    history.erase(now=100.0 + 7 * 3600)
    assert b"s-3-1" not in path.read_bytes(), "after the last possible retry the name goes too"


def test_everything_of_the_rounds_can_be_forgotten_at_once(owned: Owned) -> None:
    owned.offers()
    owned.steps()
    assert owned.runtime.status.personal
    owned.runtime.prefer(personal=False)
    owned.runtime.forget_everything()
    assert owned.runtime.personal_model is None
    assert not owned.runtime.status.personal
    assert not (owned.home / "models" / "personal.msgpack").exists()
    assert not owned.runtime.preferences.personal, "decisions stay"
