"""A device always has a model to rank with: verified on the way in, verified again when read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from coordinator.releases.shipped import shipped_artifact
from federated_protocol import wire
from federated_protocol.messages import HoldbackModel, ModelArtifact, ModelNotice
from keyboard_app.device.model_store import ModelRejectedError, ModelStore
from suggestion_model.bundle import Bundle

BUNDLE = "cd" * 32
WEIGHTS0 = np.linspace(-1, 1, 11, dtype=np.float32)


def artifact(version: int, bundle: str = BUNDLE, weights: np.ndarray | None = None) -> tuple[bytes, ModelNotice]:
    weights = WEIGHTS0 + version if weights is None else weights
    raw = wire.encode(ModelArtifact(version, version - 1, bundle, weights.astype("<f4").tobytes(), 0.5 + version))
    return raw, ModelNotice(version, hashlib.sha256(raw).hexdigest())


def open_store(folder: Path, told: list[str] | None = None) -> ModelStore:
    return ModelStore(folder, BUNDLE, WEIGHTS0, 0.25, report=(told if told is not None else []).append)


def test_a_new_device_ranks_with_the_bundles_own_weights(tmp_path: Path) -> None:
    store = open_store(tmp_path / "models")
    assert store.current is store.v0
    assert store.current.threshold == 0.25
    assert not (tmp_path / "models").exists()


def test_a_model_arrives_survives_a_restart_and_pushes_the_last_one_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for version in (1, 2, 3):
        store.admit(*artifact(version))
    again = open_store(tmp_path)
    assert again.current.version == 3
    assert again.previous is not None
    assert again.previous.version == 2
    np.testing.assert_array_equal(again.current.weights, WEIGHTS0 + 3)
    assert again.current.threshold == 3.5
    assert len(list(tmp_path.glob("*.model"))) == 2
    assert not list(tmp_path.glob(".*"))


def test_the_announced_model_is_found_and_no_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    raw, notice = artifact(1)
    assert not store.holds(notice)
    store.admit(raw, notice)
    assert store.holds(notice)
    assert store.find(1, notice.digest) is store.current
    assert store.find(1, "00" * 32) is None


def test_a_version_0_of_the_same_content_need_not_be_fetched(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    raw = wire.encode(ModelArtifact(0, 0, BUNDLE, WEIGHTS0.astype("<f4").tobytes(), 0.25))
    digest = hashlib.sha256(raw).hexdigest()
    assert store.holds(ModelNotice(0, digest))
    assert store.find(0, digest) is store.v0
    assert not store.holds(ModelNotice(0, hashlib.sha256(raw + b"\0").hexdigest()))
    assert not store.holds(ModelNotice(1, digest))
    store.admit(*artifact(1))
    assert not store.holds(ModelNotice(0, digest))
    assert store.find(0, digest) is store.v0  # for a round that starts from it, or judges by it


def test_the_coordinators_version_0_of_the_ranker_is_what_ships_with_the_app(tmp_path: Path) -> None:
    bundle, published = Bundle.shipped(), wire.encode(shipped_artifact())
    store = ModelStore(tmp_path, bundle.digest, bundle.weights0, bundle.threshold0, heads=bundle.heads)
    assert store.holds(ModelNotice(0, hashlib.sha256(published).hexdigest()))


def test_what_the_holdback_ranks_with_outlives_newer_models_and_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    raw, notice = artifact(1)
    to_all = ModelNotice(3, artifact(3)[1].digest, HoldbackModel(1, notice.digest))
    assert store.holdback is store.v0
    assert store.holds_for_holdback(notice)
    assert not store.holds_for_holdback(to_all)
    store.admit_for_holdback(raw, to_all)
    for version in (2, 3, 4):
        store.admit(*artifact(version))
    again = open_store(tmp_path)
    assert (again.current.version, again.holdback.version) == (4, 1)
    assert again.holds_for_holdback(to_all)
    with pytest.raises(ModelRejectedError):
        again.admit_for_holdback(artifact(2)[0], to_all)
    assert again.holdback.version == 1
    assert again.admit_for_holdback(None, artifact(4)[1]) is again.v0
    assert open_store(tmp_path).holdback.version == 0
    assert len(list(tmp_path.glob("*.model"))) == 2


@pytest.mark.parametrize(
    ("raw", "notice", "why"),
    [
        (artifact(1)[0][:-1] + b"\1", artifact(1)[1], "SHA-256"),
        (artifact(2)[0], ModelNotice(1, artifact(2)[1].digest), "version 2"),
        (*artifact(1, bundle="ee" * 32), "update the app"),
        (*artifact(1, weights=np.zeros(12)), "44"),
        (*artifact(1, weights=np.full(11, np.nan)), "finite"),
        (b"junk", ModelNotice(1, hashlib.sha256(b"junk").hexdigest()), "decoded"),
    ],
)
def test_what_is_not_the_announced_model_changes_nothing(
    tmp_path: Path, raw: bytes, notice: ModelNotice, why: str
) -> None:
    store = open_store(tmp_path)
    store.admit(*artifact(7))
    with pytest.raises(ModelRejectedError, match=why):
        store.admit(raw, notice)
    assert store.current.version == 7
    assert open_store(tmp_path).current.version == 7


def test_a_corrupt_file_is_set_aside_and_the_previous_model_takes_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.admit(*artifact(1))
    store.admit(*artifact(2))
    path = next(tmp_path.glob("2-*.model"))
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    told: list[str] = []
    again = open_store(tmp_path, told)
    assert again.current.version == 1
    assert path.with_name(path.name + ".corrupt-1").exists()
    assert "set aside" in told[0]


def test_with_everything_corrupt_v0_still_ranks(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.admit(*artifact(1))
    store.admit(*artifact(2))
    for path in tmp_path.glob("*.model"):
        path.write_bytes(b"")
    assert open_store(tmp_path).current.version == 0
    (tmp_path / "index.json").write_bytes(b"\xff")
    assert open_store(tmp_path).current.version == 0


def test_a_set_aside_model_is_fetched_again_when_announced(tmp_path: Path) -> None:
    raw, notice = artifact(1)
    open_store(tmp_path).admit(raw, notice)
    next(tmp_path.glob("1-*.model")).write_bytes(b"torn")
    store = open_store(tmp_path)
    assert not store.holds(notice)
    assert store.admit(raw, notice).version == 1
    assert open_store(tmp_path).holds(notice)


def test_weights_handed_out_cannot_be_changed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.admit(*artifact(1))
    with pytest.raises(ValueError, match="read-only"):
        store.current.weights[0] = 9.0
