"""Devices that die, lie about the time, repeat themselves, or are strangled by others on the same port."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import threading
import time

import pytest
import urllib3

from coordinator.rounds.states import PHASE_OF_STATE, RoundState
from federated_protocol import wire
from federated_protocol.messages import Phase, Refusal, RefusalReason

DEVICES = 6
HALF = 3


@pytest.mark.parametrize("state", [RoundState.ADVERTISING, RoundState.COLLECTING, RoundState.UNMASKING])
def test_half_of_the_devices_are_killed_and_come_back(federate, state):
    waits = ("advertise_s", "share_s", "masked_input_s", "confirm_s", "unmask_s")
    federation = federate(DEVICES, deadlines=dict.fromkeys(("selecting_s", *waits), 4.0))
    coordinator = federation.start()
    others = list(range(HALF, DEVICES))
    federation.switch_on(coordinator.url, list(range(HALF)))
    first = federation.fork_devices(coordinator.url, others)
    # Whoever answered may die: a message is there or it is not.
    federation.step_until(lambda: federation.stands_in(state, PHASE_OF_STATE[state], 1))
    os.killpg(first, signal.SIGKILL)
    federation.step_until(lambda: not federation.stands_in(state))
    federation.fork_devices(coordinator.url, others)
    federation.step_until(lambda: federation.published() and federation.everybody_was_in())
    assert all(reason.startswith("too_few") for reason in federation.abandoned())
    federation.check_books()


def test_devices_whose_clock_is_wrong_are_told_so_and_hold_nobody_up(federate):
    federation = federate(DEVICES, rounds={"goal_count": DEVICES - 2, "overselect": 1.5})  # there is room for all
    coordinator = federation.start()
    federation.switch_on(coordinator.url)
    skews = [7200.0, -7200.0, 500.0, -500.0]
    for device, skew in zip(federation.devices, skews, strict=False):
        federation.set_clock(device, lambda skew=skew: time.time() + skew)
    wrong, right = federation.devices[:2], federation.devices[2:]
    federation.step_until(lambda: all(device.status.rounds_joined for device in right))
    assert all("clock" in device.status.problem for device in wrong)
    for device in wrong:
        federation.set_clock(device, time.time)
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    federation.check_books()


def test_requests_that_arrive_twice_and_out_of_order_change_nothing(federate):
    federation = federate(DEVICES)
    coordinator = federation.start()
    federation.switch_on(coordinator.url)
    said = []
    answers = []

    def post(path, body):
        headers = {"Content-Type": wire.CONTENT_TYPE}
        answers.append(urllib3.request("POST", coordinator.url + path, body=body, headers=headers))

    for transport in federation.transports:
        once = transport._request

        def echoed(method, path, body, *more, _once=once):
            if body is None:
                return _once(method, path, body, *more)
            said.append((path.partition("?")[0], body))
            twin = threading.Thread(target=post, args=said[-1])
            twin.start()  # at the same moment on another connection
            try:
                return _once(method, path, body, *more)
            finally:
                twin.join()
                for earlier in random.Random(len(said)).sample(said, min(3, len(said))):
                    post(*earlier)

        transport._request = echoed
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    refused = {wire.decode(answer.data, Refusal).reason for answer in answers if answer.status != 200}
    assert refused <= {RefusalReason.WRONG_PHASE, RefusalReason.UNKNOWN_SESSION}
    assert len(answers) > 4 * DEVICES * len(Phase)
    federation.check_books()


def test_connections_that_dribble_do_not_take_the_threads_from_the_others(federate):
    federation = federate(DEVICES)
    coordinator = federation.start(threads=4, read_s=0.5)
    address = ("127.0.0.1", int(coordinator.url.rpartition(":")[2]))
    slow = [socket.create_connection(address) for _ in range(24)]
    for number, connection in enumerate(slow):
        head = b"POST /v1/check-in HTTP/1.1\r\nHost: c\r\nContent-Length: 3000\r\n"
        connection.sendall(head if number % 2 else head + b"\r\nnot all of it")
    federation.switch_on(coordinator.url)
    over = threading.Event()

    def dribble():
        while not over.wait(0.1):
            for connection in slow:
                try:
                    connection.send(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=dribble)
    thread.start()
    federation.step_until(federation.everybody_was_in)
    over.set()
    thread.join()
    assert federation.first_round_held()
    federation.check_books()
    for connection in slow:
        connection.close()


def test_bodies_larger_than_a_call_takes_are_refused_unread(federate):
    federation = federate(DEVICES)
    coordinator = federation.start()
    federation.switch_on(coordinator.url)
    federation.step_until(lambda: federation.stands_in(RoundState.COLLECTING))
    session = federation.rounds()[0].session  # beside it a selection may be open
    for path in ("/v1/check-in", f"/v1/sessions/{session}/masked_input"):
        head = f"POST {path} HTTP/1.1\r\nHost: c\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        for body in (b"Content-Length: 99999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", int(coordinator.url.rpartition(":")[2]))) as connection:
                connection.settimeout(60)
                connection.sendall(head.encode() + body)
                if b"chunked" in body:
                    with pytest.raises(ConnectionError), connection:  # noqa: PT012 - whichever of the pieces it is
                        for _ in range(2000):
                            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                    continue
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                assert (answer.status, wire.decode(answer.read(), Refusal).reason) == (413, RefusalReason.TOO_LARGE)
    federation.step_until(federation.everybody_was_in)
    assert federation.first_round_held()
    federation.check_books()
