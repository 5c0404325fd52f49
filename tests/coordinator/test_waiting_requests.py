"""A request may wait for its phase to end; what it then answers, and when it does not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.rounds.states import RoundState
from coordinator.rounds.waiting import RoundWatch
from federated_protocol import wire
from federated_protocol.messages import (
    Abandoned,
    Confirmations,
    Finished,
    Mailbox,
    Pending,
    Phase,
    PlanAnswer,
    Refusal,
    RefusalReason,
    Roster,
    Selected,
    SessionAnswer,
    Survivors,
)
from federated_protocol.signing import sign

FOREVER_S = 60.0


def test_a_place_is_left_when_the_round_moves() -> None:
    watch = RoundWatch()
    watch.begin()
    watch.saw({"one": RoundState.SHARING})
    with ThreadPoolExecutor(1) as pool, watch.place(b"a", FOREVER_S) as moved:
        waiting = pool.submit(moved, "one", RoundState.SHARING)
        watch.saw({"one": RoundState.COLLECTING})
        assert waiting.result(FOREVER_S)


def test_whoever_comes_late_is_not_kept() -> None:
    """The round moved on between the look at the database and the wait."""
    watch = RoundWatch()
    watch.begin()
    watch.saw({"one": RoundState.COLLECTING})
    with watch.place(b"a", FOREVER_S) as moved:
        assert moved("one", RoundState.SHARING)
    watch.saw({"two": RoundState.SELECTING})
    with watch.place(b"a", FOREVER_S) as moved:
        assert moved("one", RoundState.COLLECTING)


def test_nobody_waits_without_a_ticker_a_place_or_time() -> None:
    watch = RoundWatch(most_waiting=1)
    watch.saw({"one": RoundState.SHARING})
    with watch.place(b"a", FOREVER_S) as moved:
        assert not moved("one", RoundState.SHARING)
    watch.begin()
    with watch.place(b"a", FOREVER_S), watch.place(b"b", FOREVER_S) as moved:
        assert not moved("one", RoundState.SHARING)
    with watch.place(b"a", 0.0) as moved:
        assert not moved("one", RoundState.SHARING)


def test_one_device_cannot_take_all_places() -> None:
    watch = RoundWatch()
    watch.begin()
    watch.saw({"one": RoundState.SHARING})
    with watch.place(b"a", FOREVER_S), watch.place(b"a", FOREVER_S) as moved:
        assert not moved("one", RoundState.SHARING)


def test_the_end_of_the_process_ends_all_waiting() -> None:
    watch = RoundWatch()
    watch.begin()
    watch.saw({"one": RoundState.SHARING})
    with ThreadPoolExecutor(1) as pool, watch.place(b"a", FOREVER_S) as moved:
        waiting = pool.submit(moved, "one", RoundState.SHARING)
        watch.end()
        assert not waiting.result(FOREVER_S)


def _post(device: Any, phase: Phase) -> Any:
    signed = sign(device.message(phase), phase, device.session, device.identity, device.client.binding)
    path = f"/v1/sessions/{device.session}/{phase.value}?wait=20"
    return device.call("POST", path, wire.encode(signed), SessionAnswer | Refusal)


def test_a_round_in_which_every_message_is_answered_with_the_phases_result(
    deploy: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    deployment = deploy(rounds={"goal_count": 4, "minimum_count": 4, "pause_s": 0.0, "settle_s": 0.0})
    transport = serve(deployment.app)
    deployment.coordinator.start_ticking(0.01)
    devices = deployment.devices(4, transport)
    kinds = {
        Phase.ADVERTISE: Roster,
        Phase.SHARE: Mailbox,
        Phase.MASKED_INPUT: Survivors,
        Phase.CONFIRM: Confirmations,
        Phase.UNMASK: Finished,
    }
    everybody_is_in = threading.Barrier(4)

    def live(device: Any) -> None:
        while not isinstance(device.check_in(), Selected):
            pass
        everybody_is_in.wait(FOREVER_S)
        fingerprint = device.identity.fingerprint.hex()
        plan = device.call("GET", f"/v1/sessions/{device.session}/plan?device={fingerprint}&wait=20", None)
        assert isinstance(plan, PlanAnswer)
        device.fetch_plan()
        for phase, kind in kinds.items():
            assert isinstance(_post(device, phase), kind)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(live, device) for device in devices]:
            done.result(FOREVER_S)


def test_without_a_ticker_a_request_that_would_wait_is_told_to_ask_again(deployment: Any) -> None:
    devices = deployment.select(4)
    assert isinstance(_post(devices[0], Phase.ADVERTISE), Pending)


def test_whoever_waits_hears_that_the_round_is_abandoned(deployment: Any) -> None:
    devices = deployment.select(4)
    deployment.coordinator.start_ticking(0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_post, devices[0], Phase.ADVERTISE)
        while deployment.coordinator_rounds(1)[0].running:
            deployment.stop_rounds()
        answer = waiting.result(FOREVER_S)
    assert isinstance(answer, Abandoned)


@pytest.mark.parametrize("wait", ["-1", "1e9", "99999", "%C2%B2", "soon"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(deployment: Any, wait: str) -> None:
    device = deployment.select(4)[0]
    path = f"/v1/sessions/{device.session}/plan?device={device.identity.fingerprint.hex()}&wait={wait}"
    answer = device.call("GET", path, None)
    assert isinstance(answer, Refusal)
    assert answer.reason is RefusalReason.MALFORMED
