"""A phase waits as long as recent rounds needed, and some: vanished devices cost seconds, not a minute."""

from __future__ import annotations

import pytest

from coordinator.rounds.deadlines import MARGIN
from coordinator.storage import phase_times
from federated_protocol.messages import Abandoned, AbandonReason, Phase

LONGEST_S = 30.0
SHORTEST_S = 5.0


def waits(deployment):
    """Seconds until the deadline of the phase that has just begun."""
    row = deployment.coordinator_rounds(1)[0]
    return row.deadline - row.state_since


def answer_slowly(deployment, devices, phase, last_after_s):
    """Everybody answers evenly spread over this time."""
    for number, device in enumerate(devices, start=1):
        deployment.clock.advance(last_after_s / len(devices))
        device.post(phase)
        assert number <= len(devices)


def known(deployment, last_after_s=0.0, rounds=2):
    """Rounds in which every phase needed so long."""
    for _ in range(rounds):
        devices = deployment.select(10)
        for phase in Phase:
            answer_slowly(deployment, devices, phase, last_after_s)


def test_deadlines_are_the_configured_ones_until_enough_answers_are_known(deployment):
    devices = deployment.select(10)
    assert waits(deployment) == LONGEST_S
    deployment.run_round(devices)
    devices = deployment.select(10)
    assert waits(deployment) == LONGEST_S  # ten answers: nothing is known
    deployment.run_round(devices)
    deployment.select(10)
    assert waits(deployment) == SHORTEST_S


def test_a_deadline_is_a_multiple_of_what_nearly_all_needed(deployment):
    known(deployment, last_after_s=6.0)
    devices = deployment.select(10)
    assert waits(deployment) == pytest.approx(MARGIN * 6.0)
    for phase in list(Phase)[:-1]:
        deployment.run_phase(phase, devices)
        assert waits(deployment) == pytest.approx(MARGIN * 6.0), phase


def test_a_vanished_device_costs_so_long_and_no_longer(deployment):
    known(deployment, last_after_s=4.0)
    devices = deployment.select(10)
    deployment.run_phase(Phase.ADVERTISE, devices[1:])
    deployment.tick(MARGIN * 4.0 - 0.1)
    assert deployment.state() == "advertising"
    deployment.tick(0.2)
    assert (deployment.state(), deployment.coordinator_rounds(1)[0].advertised) == ("sharing", 9)


def test_slow_answers_move_the_deadline_up_again_but_never_beyond_the_configured_one(deploy):
    deployment = deploy(deadlines={"advertise_s": 8.0})
    known(deployment)
    for last_after_s, following_s in ((4.5, MARGIN * 4.5), (6.5, 8.0)):  # each time just before the deadline
        devices = deployment.select(10)
        assert waits(deployment) > last_after_s
        answer_slowly(deployment, devices, Phase.ADVERTISE, last_after_s)
        for phase in list(Phase)[1:]:
            deployment.run_phase(phase, devices)
        deployment.select(10)
        assert waits(deployment) == pytest.approx(following_s)
        deployment.stop_rounds()


def test_after_a_phase_with_too_few_answers_the_configured_deadline_holds(deployment):
    known(deployment)
    devices = deployment.select(10)
    deployment.run_phase(Phase.ADVERTISE, devices[:2])
    deployment.tick(SHORTEST_S)
    assert devices[0].get("advertise") == Abandoned(reason=AbandonReason.TOO_FEW_ADVERTISED)
    devices = deployment.select(10)
    assert waits(deployment) == LONGEST_S
    deployment.run_phase(Phase.ADVERTISE, devices)
    assert waits(deployment) == SHORTEST_S  # of the other phases nothing bad is known


def test_whoever_looks_finds_the_same_deadline(deployment):
    known(deployment, last_after_s=6.0)
    deployment.restart()
    devices = deployment.select(10)
    assert waits(deployment) == pytest.approx(MARGIN * 6.0)
    deployment.run_round(devices)
    with deployment.coordinator.database.reading() as connection:
        newest = phase_times.newest(connection, deployment.settings.task, Phase.UNMASK, 9)
    assert [(found.number, found.answered, found.short) for found in newest] == [
        (3, 10, False), (2, 10, False), (1, 10, False),
    ]  # fmt: skip


def test_it_can_be_switched_off(deploy):
    deployment = deploy(deadlines={"adaptive": False})
    known(deployment)
    deployment.select(10)
    assert waits(deployment) == LONGEST_S
