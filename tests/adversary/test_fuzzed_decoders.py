"""Every decoder of bytes that a stranger sent: a value, or one of the package's own errors, and soon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from federated_protocol import enrolment, messages, wire
from federated_protocol.errors import FederatedProtocolError
from federated_protocol.plan import Plan
from federated_protocol.secure_aggregation import ClientState
from federated_protocol.secure_aggregation.bitmap import unpack_set
from federated_protocol.secure_aggregation.merkle import root_from
from federated_protocol.secure_aggregation.shamir import open_secret
from federated_protocol.secure_aggregation.share_box import open_box
from federated_protocol.signing import Identity, open_signed
from federated_protocol.trust import TrustStore
from federated_protocol.vector_layout import VectorField, VectorLayout, unpack

KEY = Identity.from_private_bytes(b"\x07" * 32).public_key
LAYOUT = VectorLayout((VectorField("a", 9, 13), VectorField("b", 2, 24)))
ON_THE_WIRE = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not messages.Message
]
DECODERS: dict[str, Callable[[bytes], object]] = {
    **{kind.__name__: lambda data, kind=kind: wire.decode(data, kind) for kind in [*ON_THE_WIRE, Plan]},
    **{f"{kind.__name__} (JSON)": lambda data, kind=kind: wire.decode_json(data, kind) for kind in ON_THE_WIRE},
    "SessionAnswer": lambda data: wire.decode(data, messages.SessionAnswer),
    "CheckInAnswer": lambda data: wire.decode(data, messages.CheckInAnswer),
    "certificate": lambda data: enrolment.verify(data, KEY, 0.0),
    "trust list": lambda data: TrustStore.pinned(KEY).accept(data, 0.0),
    "kept trust list": TrustStore.restored,
    "signed": lambda data: open_signed(
        messages.SignedMessage(b"d" * 16, data, data[:64]), messages.CheckIn, "check-in", "", KEY
    ),
    "bit map": lambda data: unpack_set(data, 19),
    "proof": lambda data: root_from({3: bytes(32)}, 100, data),
    "packed vector": lambda data: unpack(data, LAYOUT),
    "box": lambda data: open_box(bytes(32), 1, 2, data),
    "share": lambda data: open_secret((1, 2), [data[:32], data[32:]]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_give_a_value_or_a_named_error_in_bounded_time(name: str) -> None:
    decode = DECODERS[name]
    slowest = 0.0

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.binary(max_size=300) | st.binary(min_size=64, max_size=64) | mutations())
    def fuzz(data: bytes) -> None:
        nonlocal slowest
        started = time.process_time()
        with contextlib.suppress(FederatedProtocolError):
            decode(data)
        slowest = max(slowest, time.process_time() - started)

    fuzz()
    assert slowest < 0.5


def mutations() -> st.SearchStrategy[bytes]:
    """Valid messages with a few bytes changed, cut or repeated."""
    valid = [
        wire.encode(messages.KeyAdvertisement(b"c" * 32, b"m" * 32)),
        wire.encode(messages.EncryptedShares(b"c" * 32, b"x" * 160)),
        wire.encode(messages.Unmasking(b"\1", b"s" * 64)),
        wire.encode(messages.Roster(3, 2, 2, 1, b"r" * 32, (messages.RosterEntry(2, b"", b"", b"", b""),), b"")),
        wire.encode(messages.Confirmations(b"\3", b"s" * 128)),
        wire.encode(messages.Survivors(b"\3", (), b"")),
    ]

    @st.composite
    def mutated(draw: Any) -> bytes:
        data = bytearray(draw(st.sampled_from(valid)))
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, max(len(data) - 1, 0)))
            match draw(st.integers(0, 2)):
                case 0 if data:
                    data[at] ^= draw(st.integers(1, 255))
                case 1:
                    del data[at:]
                case _:
                    data[at:at] = data[at : at + 20]
        return bytes(data)

    return mutated()


BAD_LENGTHS = st.integers(-(2**40), 2**40) | st.integers(-2, 12)


@settings(max_examples=150, deadline=None)
@given(
    numbers=st.tuples(BAD_LENGTHS, BAD_LENGTHS, BAD_LENGTHS, BAD_LENGTHS),
    root=st.binary(max_size=40),
    proof=st.binary(max_size=100),
)
def test_a_roster_of_absurd_numbers_costs_a_device_nothing(
    kit: Any, numbers: tuple[int, int, int, int], root: bytes, proof: bytes
) -> None:
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(2, shape), shape)
    client = cohort.clients[1]
    started = time.process_time()
    with pytest.raises(FederatedProtocolError):
        client.share(messages.Roster(*numbers, root, (), proof))
    assert time.process_time() - started < 1.0
    assert client.state is ClientState.ABORTED


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=200))
def test_fuzzed_answers_abort_a_client_with_a_named_error(kit: Any, one: bytes, other: bytes) -> None:
    assume(other or len(one) != 1)  # a lone bitmap of one byte may be the honest answer
    shape = kit.layout([(20, 16)])
    cohort = kit.Cohort(kit.vectors(4, shape), shape)
    cohort.share()
    calls = {
        1: lambda c: c.masked_input(messages.Mailbox(one, other), np.zeros(20, np.uint32)),
        2: lambda c: c.share(cohort.roster_of[2]),
    }
    for i, call in calls.items():
        with pytest.raises(FederatedProtocolError):
            call(cohort.clients[i])
        assert cohort.clients[i]._secrets is None
    cohort.leaves |= {1: 0, 2: 0}
    cohort.mailboxes = {i: box for i, box in cohort.mailboxes.items() if i > 2}
    for i in (3, 4):
        client = cohort.clients[i]
        client.masked_input(cohort.mailboxes[i], cohort.vectors[i])
    with pytest.raises(FederatedProtocolError):
        cohort.clients[3].confirm(messages.Survivors(one, (), other))
    cohort.clients[4].confirm(messages.Survivors(b"\x0f", (), b""))
    with pytest.raises(FederatedProtocolError):
        cohort.clients[4].unmask(messages.Confirmations(one, other))
