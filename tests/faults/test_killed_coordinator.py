"""``kill -9`` of the coordinator anywhere in a round: the next process goes on, and devices find it by themselves."""

from __future__ import annotations

import pytest

from coordinator.rounds.states import PHASE_OF_STATE, RoundState

DEVICES = 6
HALF = 3


@pytest.mark.parametrize("state", [RoundState.SELECTING, *PHASE_OF_STATE], ids=lambda state: state.value)
def test_killed_half_way_through_a_state_the_round_goes_on(federate, state):
    federation = federate(DEVICES)
    coordinator = federation.start()
    federation.switch_on(coordinator.url)
    federation.step_until(lambda: federation.stands_in(state, PHASE_OF_STATE.get(state), HALF))
    coordinator.kill()
    for device in federation.devices:
        device.step()
    federation.start()
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    federation.check_books()


@pytest.mark.parametrize(
    "moment",
    ["before the sum is open", "before the model is published", "inside the transaction that publishes"],
)
def test_killed_between_the_last_message_and_the_new_model_it_is_published_once(federate, moment):
    federation = federate(DEVICES)
    coordinator = federation.start(dies=moment)
    federation.switch_on(coordinator.url)
    federation.step_until(lambda: not coordinator.alive)
    federation.start()
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    federation.check_books()
