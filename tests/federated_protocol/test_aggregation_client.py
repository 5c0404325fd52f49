"""A device gives out what the protocol allows, in its order, once; after anything else it gives out nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.messages import Mailbox, MaskKeyShare, Roster, SelfMaskShare, Survivors
from federated_protocol.secure_aggregation import AggregationClient, ClientState, build_roster, route
from federated_protocol.secure_aggregation.client import TRANSITIONS, state_diagram

Reason = ProtocolErrorReason
N = 5


@pytest.fixture
def cohort(kit: Any) -> Any:
    shape = kit.layout([(20, 16)])
    return kit.Cohort(kit.vectors(N, shape), shape)


def refuses(client: AggregationClient, reason: ProtocolErrorReason, call: Callable[[], object]) -> None:
    """``call`` raises ``reason``, the client is aborted, and no step works any more."""
    with pytest.raises(ProtocolError) as caught:
        call()
    assert caught.value.reason is reason
    assert_silent(client)


def assert_silent(client: AggregationClient) -> None:
    assert client.state is ClientState.ABORTED
    assert client._secrets is None
    steps: list[Callable[[], object]] = [
        client.advertise,
        lambda: client.share(Roster(entries=(), threshold=1)),
        lambda: client.masked_input(Mailbox(ciphertexts={}), np.zeros(20, np.uint32)),
        lambda: client.unmask(Survivors(indices=())),
    ]
    for step in steps:
        with pytest.raises(ProtocolError) as caught:
            step()
        assert caught.value.reason is Reason.ABORTED


# -- roster ------------------------------------------------------------------------------------------------------


def changed_roster(roster: Roster, change: str) -> Roster:
    entries = list(roster.entries)
    threshold = roster.threshold
    replace = msgspec.structs.replace
    match change:
        case "own entry removed":
            entries = [replace(e, index=k) for k, e in enumerate(entries[1:], start=1)]
            threshold = len(entries) // 2 + 1
        case "own cipher key replaced":
            entries[0] = replace(entries[0], cipher_key=b"\x07" * 32)
        case "own keys swapped":
            entries[0] = replace(entries[0], cipher_key=entries[0].mask_key, mask_key=entries[0].cipher_key)
        case "peer has own key":
            entries[1] = replace(entries[1], mask_key=entries[0].mask_key)
        case "peer's keys equal":
            entries[1] = replace(entries[1], mask_key=entries[1].cipher_key)
        case "two peers share a key":
            entries[2] = replace(entries[2], cipher_key=entries[1].cipher_key)
        case "threshold too low":
            threshold -= 1
        case "threshold too high":
            threshold += 1
        case "short key":
            entries[1] = replace(entries[1], cipher_key=b"\x07" * 31)
        case "small-order key":
            entries[1] = replace(entries[1], cipher_key=bytes(32))
        case "index twice":
            entries[1] = replace(entries[1], index=1)
        case "indices from zero":
            entries = [replace(e, index=e.index - 1) for e in entries]
        case "out of order":
            entries.reverse()
    return Roster(entries=tuple(entries), threshold=threshold)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("own entry removed", Reason.OWN_ENTRY_MISSING),
        ("own cipher key replaced", Reason.OWN_ENTRY_MISSING),
        ("own keys swapped", Reason.OWN_ENTRY_MISSING),
        ("peer has own key", Reason.DUPLICATE_KEY),
        ("peer's keys equal", Reason.DUPLICATE_KEY),
        ("two peers share a key", Reason.DUPLICATE_KEY),
        ("threshold too low", Reason.BAD_THRESHOLD),
        ("threshold too high", Reason.BAD_THRESHOLD),
        ("short key", Reason.BAD_KEY),
        ("small-order key", Reason.BAD_KEY),
        ("index twice", Reason.BAD_INDEX),
        ("indices from zero", Reason.BAD_INDEX),
        ("out of order", Reason.BAD_INDEX),
    ],
)
def test_a_dishonest_roster_is_refused(cohort: Any, change: str, reason: ProtocolErrorReason) -> None:
    cohort.share()
    fresh = AggregationClient("s", b"d" * 32, cohort.layout, floor=2)
    keys = fresh.advertise()
    entries = (msgspec.structs.replace(cohort.roster.entries[0], **msgspec.structs.asdict(keys)),)
    roster = Roster(entries=entries + cohort.roster.entries[1:], threshold=cohort.roster.threshold)
    refuses(fresh, reason, lambda: fresh.share(changed_roster(roster, change)))


def test_fewer_participants_than_the_pinned_floor_are_refused(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(N, shape), shape, floor=N + 1)
    with pytest.raises(ProtocolError) as caught:
        cohort.share()
    assert caught.value.reason is Reason.BELOW_FLOOR
    assert_silent(cohort.clients[1])


def test_more_participants_than_the_codec_was_solved_for_are_refused(cohort: Any) -> None:
    cohort.share()
    fresh = AggregationClient("s", b"d" * 32, cohort.layout, floor=2, largest_cohort=N - 1)
    fresh.advertise()
    refuses(fresh, Reason.ABOVE_LARGEST_COHORT, lambda: fresh.share(cohort.roster))


@pytest.mark.parametrize("floor", [-1, 0, 1])
def test_a_floor_that_protects_nobody_cannot_be_pinned(cohort: Any, floor: int) -> None:
    with pytest.raises(ProtocolError, match="below_floor"):
        AggregationClient("s", b"d" * 32, cohort.layout, floor=floor)


# -- mailbox and vector ------------------------------------------------------------------------------------------


def test_shares_of_a_stranger_or_of_oneself_are_refused(cohort: Any) -> None:
    cohort.share()
    for client, stranger in ((1, N + 1), (2, 0), (3, 3)):
        box = Mailbox(ciphertexts=cohort.mailboxes[client].ciphertexts | {stranger: bytes(82)})
        refuses(
            cohort.clients[client],
            Reason.UNKNOWN_PARTICIPANT,
            lambda c=client, b=box: cohort.clients[c].masked_input(b, cohort.vectors[c]),
        )


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "another sender's", "another recipient's"])
def test_shares_that_were_tampered_with_or_misrouted_are_refused(cohort: Any, how: str) -> None:
    cohort.share()
    box = dict(cohort.mailboxes[1].ciphertexts)
    box[2] = {
        "flipped": bytes([box[2][0] ^ 1]) + box[2][1:],
        "truncated": box[2][:-1],
        "empty": b"",
        "another sender's": box[3],
        "another recipient's": cohort.mailboxes[3].ciphertexts[2],
    }[how]
    tampered = Mailbox(ciphertexts=box)
    client, vector = cohort.clients[1], cohort.vectors[1]
    refuses(client, Reason.BAD_CIPHERTEXT, lambda: client.masked_input(tampered, vector))


def test_too_few_sharers_are_refused(cohort: Any) -> None:
    cohort.share()
    box = Mailbox(ciphertexts={2: cohort.mailboxes[1].ciphertexts[2]})
    refuses(cohort.clients[1], Reason.BELOW_THRESHOLD, lambda: cohort.clients[1].masked_input(box, cohort.vectors[1]))


def test_fewer_sharers_than_the_floor_are_refused_even_above_the_threshold(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(N, shape), shape, floor=N)
    cohort.share()
    box = Mailbox(ciphertexts={i: cohort.mailboxes[1].ciphertexts[i] for i in range(2, N)})
    refuses(cohort.clients[1], Reason.BELOW_FLOOR, lambda: cohort.clients[1].masked_input(box, cohort.vectors[1]))


@pytest.mark.parametrize(
    "vector", [np.zeros(19, np.uint32), np.full(20, 1 << 16, np.uint32), np.zeros(20, np.int64), np.zeros((4, 5))]
)
def test_a_vector_that_does_not_fit_is_never_sent(cohort: Any, vector: np.ndarray) -> None:
    cohort.share()
    refuses(cohort.clients[1], Reason.BAD_VECTOR, lambda: cohort.clients[1].masked_input(cohort.mailboxes[1], vector))


def test_the_callers_vector_is_left_as_it_was(cohort: Any) -> None:
    before = {i: v.copy() for i, v in cohort.vectors.items()}
    cohort.run()
    assert all(np.array_equal(before[i], v) for i, v in cohort.vectors.items())


def test_a_second_input_is_never_masked(cohort: Any) -> None:
    cohort.share()
    cohort.mask()
    client = cohort.clients[1]
    refuses(client, Reason.WRONG_ORDER, lambda: client.masked_input(cohort.mailboxes[1], cohort.vectors[1]))


# -- unmasking ---------------------------------------------------------------------------------------------------


def test_exactly_one_share_of_every_sharer_is_revealed_and_of_the_right_kind(cohort: Any, kit: Any) -> None:
    cohort.leaves[4] = kit.Leaves.AFTER_SHARE
    cohort.leaves[5] = kit.Leaves.AFTER_ADVERTISE
    cohort.share()
    cohort.mask()
    cohort.reveal()
    for message in cohort.unmaskings.values():
        kinds = {owner: type(reveal) for owner, reveal in message.reveals.items()}
        assert kinds == {1: SelfMaskShare, 2: SelfMaskShare, 3: SelfMaskShare, 4: MaskKeyShare}


@pytest.mark.parametrize(
    ("survivors", "reason"),
    [
        ((1, 2, 3, 9), Reason.UNKNOWN_PARTICIPANT),
        ((1, 2, 3, 5), Reason.UNKNOWN_PARTICIPANT),  # 5 never shared
        ((2, 3, 4), Reason.OWN_ENTRY_MISSING),
        ((1, 2), Reason.BELOW_THRESHOLD),
        ((1, 2, 2, 3), Reason.BAD_INDEX),
        ((), Reason.OWN_ENTRY_MISSING),
    ],
)
def test_a_dishonest_set_of_survivors_is_refused(
    cohort: Any, kit: Any, survivors: tuple[int, ...], reason: ProtocolErrorReason
) -> None:
    cohort.leaves[5] = kit.Leaves.AFTER_ADVERTISE
    cohort.share()
    cohort.mask()
    refuses(cohort.clients[1], reason, lambda: cohort.clients[1].unmask(Survivors(indices=survivors)))


def test_fewer_survivors_than_the_floor_are_refused_even_above_the_threshold(kit: Any) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(N, shape), shape, floor=N)
    cohort.share()
    cohort.mask()
    refuses(cohort.clients[1], Reason.BELOW_FLOOR, lambda: cohort.clients[1].unmask(Survivors(indices=(1, 2, 3, 4))))


def test_secrets_are_gone_once_the_device_is_done(cohort: Any) -> None:
    cohort.run()
    for client in cohort.clients.values():
        assert client.state is ClientState.DONE
        assert client._secrets is None
    refuses(cohort.clients[1], Reason.WRONG_ORDER, lambda: cohort.clients[1].unmask(Survivors(indices=(1, 2, 3, 4, 5))))


# -- order -------------------------------------------------------------------------------------------------------


def test_forgetting_silences_a_device_at_any_time(cohort: Any) -> None:
    stages: list[Callable[[], object]] = [cohort.share, cohort.mask, cohort.reveal]
    for i, stage in enumerate(stages, start=1):
        cohort.clients[i].forget()
        assert_silent(cohort.clients[i])
        cohort.leaves[i] = 0
        if i < 3:
            stage()


STEPS = ["advertise", "share", "masked_input", "unmask", "forget"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_whatever_is_called_in_whatever_order_only_the_table_gives_anything_out(kit: Any, calls: list[str]) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(2, shape), shape)
    cohort.share()
    peer = cohort.clients[2]
    client = AggregationClient(kit.session, kit.plan_digest, shape, floor=2, rng=random.Random(1).randbytes)
    expected = [step.value for (_, step) in TRANSITIONS]
    roster = cohort.roster
    given_out = []
    arguments: dict[str, Callable[[], tuple[Any, ...]]] = {
        "advertise": tuple,
        "share": lambda: (roster,),
        "masked_input": lambda: (Mailbox(ciphertexts={}), np.zeros(20, np.uint32)),
        "unmask": lambda: (Survivors(indices=(1, 2)),),
        "forget": tuple,
    }
    for call in calls:
        try:
            answer = getattr(client, call)(*arguments[call]())
        except ProtocolError:
            assert client.state is ClientState.ABORTED
            continue
        if call == "forget":
            assert client.state is ClientState.ABORTED
        elif call == "advertise":
            entries = (msgspec.structs.replace(roster.entries[0], **msgspec.structs.asdict(answer)), roster.entries[1])
            roster = Roster(entries=entries, threshold=roster.threshold)
            given_out.append(call)
        else:
            given_out.append(call)
    assert given_out == expected[: len(given_out)]
    assert peer.state is ClientState.SHARED


def test_the_diagram_shows_every_legal_step_and_the_way_out() -> None:
    diagram = state_diagram()
    assert diagram.startswith("stateDiagram-v2")
    for (before, step), after in TRANSITIONS.items():
        assert f"{before.value} --> {after.value}: {step.value}" in diagram
        assert f"{before.value} --> aborted" in diagram


# -- binding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("differs", ["session", "plan", "roster"])
def test_devices_that_were_told_different_things_do_not_open_each_others_shares(kit: Any, differs: str) -> None:
    shape = kit.layout([(20, 16)])
    one = AggregationClient("s", b"d" * 32, shape, floor=2)
    other = AggregationClient(
        "t" if differs == "session" else "s", b"e" * 32 if differs == "plan" else b"d" * 32, shape, floor=2
    )
    third = AggregationClient("s", b"d" * 32, shape, floor=2)
    keys = [c.advertise() for c in (one, other, third)]
    roster = build_roster({bytes([k]) * 16: a for k, a in enumerate(keys)})
    shown = roster
    if differs == "roster":
        fake = AggregationClient("s", b"d" * 32, shape, floor=2).advertise()
        shown = build_roster({bytes([k]) * 16: a for k, a in enumerate([*keys[:2], fake])})
    boxes = route({1: one.share(roster), 2: other.share(shown)})
    refuses(one, Reason.BAD_CIPHERTEXT, lambda: one.masked_input(boxes[1], np.zeros(20, np.uint32)))
