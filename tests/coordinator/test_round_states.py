"""The table of transitions, and the state machine kept by the database."""

from __future__ import annotations

import pytest

from coordinator.rounds.states import (
    FINAL_STATES,
    ORDER,
    PHASE_OF_STATE,
    SHORT_REASON,
    TRANSITIONS,
    IllegalTransitionError,
    RoundEvent,
    RoundState,
    mermaid,
    next_state,
)
from coordinator.storage.round_store import history_of
from federated_protocol.messages import AbandonReason, Phase, Selected


def test_every_state_but_the_final_ones_can_end_both_ways():
    for state, moves in TRANSITIONS.items():
        if state in FINAL_STATES:
            assert not moves
            continue
        assert RoundState.ABANDONED in moves.values()
        assert any(target is not RoundState.ABANDONED for target in moves.values())


def test_a_round_only_ever_moves_forward():
    for state, moves in TRANSITIONS.items():
        assert all(ORDER.index(target) > ORDER.index(state) for target in moves.values())


def test_each_step_of_secure_aggregation_has_one_state_and_a_reason_when_it_is_short():
    assert list(PHASE_OF_STATE.values()) == list(Phase)
    assert len(set(SHORT_REASON.values())) == len(SHORT_REASON)


def test_an_illegal_move_is_an_error():
    with pytest.raises(IllegalTransitionError):
        next_state(RoundState.PUBLISHED, RoundEvent.QUORUM)


def test_the_diagram_shows_every_transition():
    diagram = mermaid()
    assert diagram.count("-->") == sum(map(len, TRANSITIONS.values())) + 1 + len(FINAL_STATES)


def test_every_transition_of_a_round_is_a_history_row_with_its_time(deployment):
    deployment.run_round(deployment.select(10))
    row = deployment.coordinator_rounds(1)[0]
    with deployment.coordinator.database.reading() as connection:
        entries = history_of(connection, row.id)
    assert [entry.to_state for entry in entries] == [s.value for s in ORDER if s is not RoundState.ABANDONED]
    assert all(entry.at <= deployment.clock.now for entry in entries)
    assert all(entry.reason is None for entry in entries)


def test_selection_closes_at_once_when_the_over_selected_goal_has_joined(deploy):
    deployment = deploy(rounds={"goal_count": 8, "overselect": 1.3})
    deployment.tick()
    devices = deployment.devices(11)
    for device in devices[:10]:
        device.check_in()
    assert deployment.state() == "selecting"
    devices[10].check_in()
    assert deployment.state() == "advertising"


def test_selection_closes_soon_after_the_goal_when_nobody_else_comes(deploy):
    deployment = deploy(rounds={"goal_count": 8, "overselect": 1.3})
    deployment.tick()
    for device in deployment.devices(8):
        device.check_in()
    deployment.tick(0.5)
    assert deployment.state() == "selecting"
    deployment.tick(1.0)
    assert deployment.state() == "advertising"


def test_selection_closes_at_its_deadline_with_the_minimum(deployment):
    deployment.tick()
    for device in deployment.devices(4):
        device.check_in()
    deployment.tick(29)
    assert deployment.state() == "selecting"
    deployment.tick(1)
    assert deployment.state() == "advertising"


def test_too_small_a_selection_is_abandoned_and_tried_again_as_the_same_round(deployment):
    deployment.tick()
    for device in deployment.devices(3):
        device.check_in()
    deployment.tick(30)
    row = deployment.coordinator_rounds(1)[0]
    assert (row.state.value, row.reason) == ("abandoned", AbandonReason.TOO_FEW_SELECTED)
    deployment.tick(2)
    row = deployment.coordinator_rounds(1)[0]
    assert (row.number, row.attempt) == (1, 2)


def test_a_selection_nobody_came_to_just_waits_on(deployment):
    deployment.tick()
    for _ in range(5):
        deployment.tick(31)
    assert [row.state.value for row in deployment.coordinator_rounds()] == ["selecting"]


def test_a_round_that_may_hold_inputs_is_never_tried_again_under_its_number(deployment):
    devices = deployment.select(10)
    for phase in (Phase.ADVERTISE, Phase.SHARE):
        deployment.run_phase(phase, devices)
    deployment.run_phase(Phase.MASKED_INPUT, devices[:2])
    deployment.tick(31)
    deployment.tick(2)
    newest, abandoned = deployment.coordinator_rounds(2)
    assert abandoned.reason is AbandonReason.TOO_FEW_INPUTS
    assert (newest.number, newest.attempt) == (2, 1)


def test_no_further_round_opens_after_the_last_one(deploy):
    deployment = deploy(rounds={"max_rounds": 1})
    deployment.run_round(deployment.select(10))
    deployment.tick(100)
    assert len(deployment.coordinator_rounds()) == 1
    assert not isinstance(deployment.device().check_in(), Selected)


def test_an_operator_ends_what_runs_in_any_phase(deployment):
    for phase in Phase:
        devices = deployment.select(10)
        for earlier in list(Phase)[: list(Phase).index(phase)]:
            deployment.run_phase(earlier, devices)
        assert deployment.stop_rounds() == 1
        assert devices[0].get("plan").reason is AbandonReason.OPERATOR
        assert deployment.stop_rounds() == 0
        deployment.tick(60.0)
    assert deployment.coordinator.models.current().version == 0


def test_a_sum_below_the_smallest_aggregate_is_not_opened(deploy):
    deployment = deploy(rounds={"smallest_aggregate": 8, "minimum_count": 8})
    devices = deployment.select(10)
    for phase in (Phase.ADVERTISE, Phase.SHARE):
        deployment.run_phase(phase, devices)
    deployment.run_phase(Phase.MASKED_INPUT, devices[:7])  # more than t = 6
    deployment.tick(31)
    assert deployment.coordinator_rounds(1)[0].reason is AbandonReason.TOO_FEW_INPUTS
