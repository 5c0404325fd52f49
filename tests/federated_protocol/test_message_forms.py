"""The bytes of every message and the words of every reason, against ``message_forms.json``.

Where one of these fails, a peer of the version before cannot read what is sent now: raise ``PROTOCOL_VERSION``, keep
what the version before reads for as long as it is served (``coordinator/rounds/versions.py``), and say in
docs/protocol.md what the new version brought.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path

import msgspec
import pytest

from federated_protocol import messages as m
from federated_protocol import wire
from federated_protocol.plan import PROTOCOL_VERSION, Adversary, TaskKind

COMMITTED = json.loads((Path(__file__).parent / "message_forms.json").read_text())
DIGEST = "ab" * 32
NOTICE = m.ModelNotice(3, DIGEST, m.HoldbackModel(1, "cd" * 32))
ENTRY = m.RosterEntry(2, b"k" * 32, b"m" * 32, b"s" * 64, b"certificate")

EXAMPLES: dict[str, m.Message] = {
    type(message).__name__: message
    for message in (
        m.SignedMessage(b"d" * 16, b"payload", b"s" * 64),
        m.CheckIn(2, "1.0", b"certificate", b"n" * 16, 1.5, True),
        m.KeyAdvertisement(b"k" * 32, b"m" * 32),
        m.EncryptedShares(b"c" * 32, b"x" * 160),
        m.MaskedInput(b"packed"),
        m.Confirmation(b"d" * 32),
        m.Unmasking(b"\x02", b"s" * 64),
        NOTICE,
        m.HoldbackModel(1, DIGEST),
        m.NoticeOfVersion1(3, DIGEST),
        m.Selected("0123456789abcdef", NOTICE, 0.5),
        m.ComeBack(60.0, m.ComeBackReason.PACE, NOTICE),
        m.UpgradeRequired(1),
        m.Pending(0.5),
        m.Abandoned(m.AbandonReason.TOO_FEW_SHARED),
        m.PlanAnswer(b"plan", b"trust"),
        m.Roster(4, 3, 3, 1, b"r" * 32, (ENTRY,), b"p" * 32),
        ENTRY,
        m.Mailbox(b"\x01", b"x" * 80),
        m.Survivors(b"\x0f", (ENTRY,), b"p" * 32),
        m.Confirmations(b"\x01", b"s" * 64),
        m.Finished(NOTICE, 20),
        m.Refusal(m.RefusalReason.WRONG_PHASE, "what to do"),
        m.ModelArtifact(3, 2, DIGEST, b"\0" * 8, 0.25),
        m.Anchor(b"\0" * 8, b"\0" * 8),
    )
}
WORDS: tuple[type[enum.StrEnum], ...] = (
    m.Phase,
    m.AbandonReason,
    m.RefusalReason,
    m.ComeBackReason,
    TaskKind,
    Adversary,
)


def test_every_message_has_a_committed_form_and_the_forms_are_of_this_version() -> None:
    there = {kind.__name__ for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, m.Message)}
    assert there - {"Message"} == set(EXAMPLES) == set(COMMITTED["messages"])
    assert COMMITTED["protocol_version"] == PROTOCOL_VERSION


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_has_its_committed_bytes(name: str) -> None:
    assert wire.encode(EXAMPLES[name]).hex() == COMMITTED["messages"][name]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words.__name__)
def test_no_word_is_sent_that_the_version_does_not_have(words: type[enum.StrEnum]) -> None:
    assert [word.value for word in words] == COMMITTED["words"][words.__name__]


@pytest.mark.parametrize("answer", [m.Selected, m.ComeBack, m.Finished], ids=lambda kind: kind.__name__)
def test_a_device_reads_the_notice_of_a_coordinator_of_version_1(answer: type[m.Message]) -> None:
    """What it does not say is what was true then: the holdback ranks with version 0."""
    sent = EXAMPLES[answer.__name__]
    former = msgspec.structs.replace(sent, current=EXAMPLES["NoticeOfVersion1"])
    read = wire.decode(wire.encode(former), m.CheckInAnswer | m.SessionAnswer)
    assert read == msgspec.structs.replace(sent, current=m.ModelNotice(3, DIGEST, None))
