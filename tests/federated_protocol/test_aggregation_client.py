"""A device gives out what the protocol allows, in its order, once; after anything else it gives out nothing.

What a lying coordinator may try is in ``tests/adversary``.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.secure_aggregation import ClientState
from federated_protocol.secure_aggregation.bitmap import unpack_set
from federated_protocol.secure_aggregation.client import TRANSITIONS, state_diagram

Reason = ProtocolErrorReason
N = 5


@pytest.fixture
def cohort(kit: Any) -> Any:
    shape = kit.layout([(20, 16)])
    return kit.Cohort(kit.vectors(N, shape), shape)


@pytest.mark.parametrize("floor", [-1, 0, 1])
def test_a_floor_that_protects_nobody_cannot_be_pinned(cohort: Any, floor: int) -> None:
    with pytest.raises(ProtocolError, match="below_floor"):
        cohort.new_client(1, floor=floor)


@pytest.mark.parametrize(
    "vector", [np.zeros(19, np.uint32), np.full(20, 1 << 16, np.uint32), np.zeros(20, np.int64), np.zeros((4, 5))]
)
def test_a_vector_that_does_not_fit_is_never_sent(cohort: Any, vector: np.ndarray) -> None:
    cohort.share()
    client = cohort.clients[1]
    with pytest.raises(ProtocolError, match="bad_vector"):
        client.masked_input(cohort.mailboxes[1], vector)
    assert client.state is ClientState.ABORTED
    assert client._secrets is None


def test_the_callers_vector_is_left_as_it_was(cohort: Any) -> None:
    before = {i: v.copy() for i, v in cohort.vectors.items()}
    cohort.run()
    assert all(np.array_equal(before[i], v) for i, v in cohort.vectors.items())


def test_exactly_one_share_of_every_sharer_is_revealed_and_of_the_right_kind(cohort: Any, kit: Any) -> None:
    cohort.leaves[4] = kit.Leaves.AFTER_SHARE
    held = {}
    cohort.share()
    cohort.mask()
    cohort.confirm()
    for i in (1, 2, 3, 5):
        held[i] = dict(cohort.clients[i]._secrets.held_shares)
    cohort.reveal()
    for i, message in cohort.unmaskings.items():
        assert unpack_set(message.missing, N) == [3]
        for slot, owner in enumerate(range(1, N + 1)):
            share = message.shares[32 * slot : 32 * (slot + 1)]
            assert share == held[i][owner][0 if owner == 4 else 1]


def test_secrets_are_gone_once_the_device_is_done(cohort: Any) -> None:
    cohort.run()
    for client in cohort.clients.values():
        assert client.state is ClientState.DONE
        assert client._secrets is None


def test_forgetting_silences_a_device_at_any_time(cohort: Any) -> None:
    stages: list[Callable[[], object]] = [cohort.share, cohort.mask, cohort.confirm]
    for i, stage in enumerate(stages, start=1):
        stage()
        client = cohort.clients[i]
        client.forget()
        cohort.leaves[i] = 0
        assert client.state is ClientState.ABORTED
        assert client._secrets is None
        with pytest.raises(ProtocolError, match="aborted"):
            client.unmask(cohort.confirmations_of.get(i))


def test_secrets_cannot_be_copied_serialised_or_printed(cohort: Any) -> None:
    cohort.share()
    client = cohort.clients[1]
    seed = client._secrets.self_mask_seed
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not serialised"):
            leak(client._secrets)
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(client)
    for shown in (repr(client), repr(client._secrets), str(vars(client))):
        assert seed.hex() not in shown
        assert repr(seed) not in shown


STEPS = ["advertise", "share", "masked_input", "confirm", "unmask", "forget"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_whatever_is_called_in_whatever_order_only_the_table_gives_anything_out(kit: Any, calls: list[str]) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(3, shape), shape)
    cohort.run()
    # The same device once more, from the same randomness: every answer the coordinator gave fits it.
    client = cohort.new_client(1, random.Random(1))
    answers: dict[str, tuple[Any, ...]] = {
        "advertise": (),
        "share": (cohort.roster_of[1],),
        "masked_input": (cohort.mailboxes[1], cohort.vectors[1]),
        "confirm": (cohort.survivors_of[1],),
        "unmask": (cohort.confirmations_of[1],),
        "forget": (),
    }
    expected = [step.value for (_, step) in TRANSITIONS]
    given_out = []
    for call in calls:
        try:
            getattr(client, call)(*answers[call])
        except ProtocolError:
            assert client.state is ClientState.ABORTED
            continue
        if call == "forget":
            assert client.state is ClientState.ABORTED
        else:
            given_out.append(call)
    assert given_out == expected[: len(given_out)]


def test_the_diagram_shows_every_legal_step_and_the_way_out() -> None:
    diagram = state_diagram()
    assert diagram.startswith("stateDiagram-v2")
    for (before, step), after in TRANSITIONS.items():
        assert f"{before.value} --> {after.value}: {step.value}" in diagram
        assert f"{before.value} --> aborted" in diagram


def test_signatures_cover_the_round_before_there_are_keys_and_everybodys_keys_after(cohort: Any) -> None:
    assert cohort.clients[1].binding == cohort.binding.digest
    cohort.share()
    assert {client.binding for client in cohort.clients.values()} == {cohort.context.digest}
    assert cohort.context.digest != cohort.binding.digest
