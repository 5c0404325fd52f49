"""A coordinator serves its protocol version and the one before, each in cohorts of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.rounds import versions
from federated_protocol.messages import ComeBack, ComeBackReason, Finished, PlanAnswer, Selected, UpgradeRequired
from federated_protocol.plan import PROTOCOL_VERSION
from federated_protocol.secure_aggregation import RoundBinding

OURS, NEXT = PROTOCOL_VERSION, PROTOCOL_VERSION + 1


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
