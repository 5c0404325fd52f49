"""A coordinator serves its protocol version and the one before, each in cohorts of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from coordinator.releases.rollout import RolloutArms, set_percent
from coordinator.rounds import versions
from federated_protocol import wire
from federated_protocol.messages import (
    CheckInAnswer,
    ComeBack,
    ComeBackReason,
    Finished,
    PlanAnswer,
    Refusal,
    RefusalReason,
    Selected,
    SessionAnswer,
    UpgradeRequired,
)
from federated_protocol.plan import PROTOCOL_VERSION
from federated_protocol.secure_aggregation import RoundBinding
from federated_protocol.signing import CHECK_IN, sign

OURS, NEXT, BEFORE = PROTOCOL_VERSION, PROTOCOL_VERSION + 1, PROTOCOL_VERSION - 1


@pytest.fixture
def newer(deploy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A coordinator that was upgraded, with devices that were not."""
    monkeypatch.setattr(versions, "NEWEST", NEXT)
    deployment = deploy(rounds={"pause_s": 0.0})
    deployment.tick()
    return deployment


def run(deployment: Any, devices: list[Any], version: int) -> Any:
    """Everybody joins and goes through the round; the plan they were given."""
    for device in devices:
        assert isinstance(device.check_in(protocol_version=version), Selected)
    if deployment.state() == "selecting":
        deployment.tick(deployment.settings.deadlines.selecting_s)
    for device in devices:
        assert isinstance(device.fetch_plan(), PlanAnswer)
    deployment.run_round(devices)
    assert all(isinstance(device.get("unmask"), Finished) for device in devices)
    return devices[0].plan


@pytest.mark.parametrize("version", [OURS, NEXT])
def test_devices_of_either_version_complete_rounds(newer: Any, version: int) -> None:
    assert run(newer, newer.devices(6), version).protocol_version == version


def test_a_cohort_speaks_one_version_and_the_others_are_asked_back(newer: Any) -> None:
    older, later = newer.devices(6), newer.devices(6)
    assert isinstance(older[0].check_in(protocol_version=OURS), Selected)
    answer = later[0].check_in(protocol_version=NEXT)
    assert isinstance(answer, ComeBack)
    assert answer.reason is ComeBackReason.PACE
    first = run(newer, older, OURS)
    newer.tick(1.0)
    second = run(newer, later, NEXT)
    assert (first.protocol_version, second.protocol_version) == (OURS, NEXT)


def test_the_version_is_in_everything_that_is_derived() -> None:
    names = ("session", bytes(32), bytes(32), "task", 1, 1)
    assert RoundBinding(*names, version=OURS).digest != RoundBinding(*names, version=NEXT).digest


def test_whoever_is_two_versions_behind_has_to_upgrade(deploy: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(versions, "NEWEST", OURS + 2)
    deployment = deploy()
    deployment.tick()
    answer = deployment.device().check_in(protocol_version=OURS)
    assert isinstance(answer, UpgradeRequired)
    assert answer.oldest_protocol_version == OURS + 1


def test_a_round_of_the_version_before_goes_on_after_the_coordinators_upgrade(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = deployment.select(6)
    monkeypatch.setattr(versions, "NEWEST", NEXT)
    deployment.restart()
    deployment.run_round(devices)
    assert all(isinstance(device.get("unmask"), Finished) for device in devices)


def raw_check_in(device: Any, wants_round: bool = True) -> Any:
    """The answer's fields as they stand on the wire."""
    signed = sign(
        device.check_in_message(protocol_version=BEFORE, wants_round=wants_round), CHECK_IN, "", device.identity
    )
    status, data = device.transport("POST", "/v1/check-in", wire.encode(signed))
    assert status == 200
    answer = wire.decode(data, CheckInAnswer)
    if isinstance(answer, Selected):
        device.session = answer.session
    return msgspec.msgpack.decode(data)


def test_a_device_of_version_1_reads_every_notice_and_completes_rounds(deployment: Any) -> None:
    """Its notice has two fields, although a version was rolled out to the holdback, of which later devices hear."""
    deployment.run_round(deployment.select(4))
    with deployment.coordinator.database.writing() as connection:
        set_percent(connection, 1, 100.0, RolloutArms.ALL, now=deployment.clock.now, actor="test", reason="test")
    deployment.tick(deployment.settings.rounds.pause_s)
    newer, older = deployment.device(), deployment.devices(4)
    news = newer.check_in(wants_round=False)
    assert news.current.holdback is not None
    notice = [news.current.version, news.current.digest]
    assert raw_check_in(older[0], wants_round=False)[3] == notice  # after_s, reason, current
    assert [raw_check_in(device)[2] for device in older] == [notice] * 4  # session, current, retry_after_s
    deployment.tick(deployment.settings.deadlines.selecting_s)
    assert all(isinstance(device.fetch_plan(), PlanAnswer) for device in older)
    assert older[0].plan.protocol_version == BEFORE
    deployment.run_round(older)
    for device in older:
        path = f"/v1/sessions/{device.session}/unmask?device={device.identity.fingerprint.hex()}"
        data = device.transport("GET", path, None)[1]
        assert isinstance(wire.decode(data, SessionAnswer), Finished)
        assert len(msgspec.msgpack.decode(data)[1]) == 2


def test_a_device_that_does_not_know_the_algorithm_has_to_upgrade(deploy: Callable[..., Any]) -> None:
    deployment = deploy(algorithm="fsvrg")
    deployment.tick()
    answer = deployment.device().check_in(protocol_version=BEFORE)
    assert answer == UpgradeRequired(oldest_protocol_version=OURS)


def test_a_device_newer_than_the_coordinator_is_told_who_has_to_upgrade(deployment: Any) -> None:
    answer = deployment.device().check_in(protocol_version=NEXT)
    assert isinstance(answer, Refusal)
    assert answer.reason is RefusalReason.UPGRADE_REQUIRED
    assert "upgrade the coordinator" in answer.message
