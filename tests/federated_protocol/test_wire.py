"""Messages survive the way over the wire; anything else is refused without a word of its content."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated_protocol import messages, wire
from federated_protocol.errors import MalformedMessage, MessageTooLarge

CANARY = "quizzical-zebra"
EXAMPLES = [
    messages.CheckIn(
        protocol_version=1, app_version="1.0", certificate=b"c", nonce=b"n", issued_at=1.5, wants_round=True
    ),
    messages.KeyAdvertisement(cipher_key=b"a" * 32, mask_key=b"b" * 32),
    messages.EncryptedShares(seed_commitment=b"c" * 32, ciphertexts=b"x" * 160),
    messages.MaskedInput(packed=bytes(100)),
    messages.Confirmation(digest=b"d" * 32),
    messages.Unmasking(missing=b"\x02", shares=b"s" * 64),
    messages.SignedMessage(device=b"d" * 16, payload=b"p", signature=b"s" * 64),
    messages.Roster(
        participants=2,
        neighbours=1,
        threshold=2,
        index=2,
        root=b"r" * 32,
        entries=(messages.RosterEntry(1, b"a", b"b", b"s", b"c"),),
        proof=b"",
    ),
    messages.Mailbox(senders=b"\x01", ciphertexts=b"x" * 80),
    messages.Survivors(members=b"\x03", witnesses=(), proof=b""),
    messages.Confirmations(signers=b"\x01", signatures=b"s" * 64),
    messages.PlanAnswer(plan=b"p", trust=b"t"),
    messages.Refusal(reason=messages.RefusalReason.WRONG_PHASE, message="ask for the session again"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_survives_both_encodings(message: messages.Message) -> None:
    assert wire.decode(wire.encode(message), type(message)) == message
    assert wire.decode_json(wire.encode_json(message), type(message)) == message


def test_a_tagged_answer_is_recognised_among_its_union() -> None:
    answer = messages.Pending(retry_after_s=0.5)
    assert wire.decode(wire.encode(answer), messages.SessionAnswer) == answer


@given(st.binary(max_size=200), st.sampled_from([type(m) for m in EXAMPLES]))
def test_any_bytes_either_decode_or_are_malformed(data: bytes, kind: type) -> None:
    for decode in (wire.decode, wire.decode_json):
        with contextlib.suppress(MalformedMessage):
            assert isinstance(decode(data, kind), kind)


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_truncated_message_is_malformed(message: messages.Message, data: st.DataObject) -> None:
    encoded = wire.encode(message)
    with pytest.raises(MalformedMessage):
        wire.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))], type(message))


@pytest.mark.parametrize("nested", [b"\x91" * 200_000, b"\x81\x01" * 200_000])
def test_deep_nesting_is_malformed_and_does_not_exhaust_the_stack(nested: bytes) -> None:
    for kind in (messages.CheckIn, messages.Unmasking, object):
        with pytest.raises(MalformedMessage):
            wire.decode(nested, kind)


def test_too_many_bytes_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(MessageTooLarge, match="at most 10"):
        wire.decode(b"\xc1" * 11, messages.CheckIn, limit_bytes=10)


@pytest.mark.parametrize(
    "content",
    [
        {CANARY: 1},
        {"seed_commitment": b"", "ciphertexts": b"x", CANARY: CANARY},
        {"seed_commitment": b"", "ciphertexts": CANARY},
        {"seed_commitment": b"", "ciphertexts": {CANARY: b"x"}},
        CANARY,
    ],
)
def test_an_error_never_quotes_what_was_sent(content: object) -> None:
    for data, decode in ((msgspec.msgpack.encode(content), wire.decode),):
        with pytest.raises(MalformedMessage) as caught:
            decode(data, messages.EncryptedShares)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(MalformedMessage) as caught:
        wire.decode_json(b'{"%s": 1}' % CANARY.encode(), messages.EncryptedShares)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_threads_that_decode_a_kind_of_message_for_the_first_time_together_all_get_it() -> None:
    """msgspec alone ends the process here, so this one runs in a process of its own."""
    program = """
import sys, threading, msgspec
from federated_protocol import wire

sys.setswitchinterval(1e-6)
for number in range(40):
    inner = msgspec.defstruct(f"Inner{number}", [(f"b{i}", "int | None | bytes") for i in range(8)], array_like=True)
    outer = msgspec.defstruct(f"Outer{number}", [(f"a{i}", inner) for i in range(8)], array_like=True)
    data = msgspec.msgpack.encode([[i, None, b"x", 1, 2, 3, 4, 5] for i in range(8)])
    together = threading.Barrier(8)
    found = []

    def decode():
        together.wait()
        found.append(wire.decode(data, outer))

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(one.a7.b0 == 7 for one in found)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
