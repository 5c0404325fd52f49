"""A signature is worth something for one device, purpose, session and payload only."""

from __future__ import annotations

import msgspec
import pytest

from federated_protocol.errors import BadSignature, FederatedProtocolError, MalformedMessage
from federated_protocol.messages import KeyAdvertisement, MaskedInput, Phase, SignedMessage
from federated_protocol.signing import Identity, fingerprint, open_signed, sign

DEVICE, OTHER = Identity.generate(), Identity.generate()
MESSAGE = KeyAdvertisement(cipher_key=b"c" * 32, mask_key=b"m" * 32)
SIGNED = sign(MESSAGE, Phase.ADVERTISE, "s1", DEVICE)


def opened(signed: SignedMessage, **changed: object) -> KeyAdvertisement:
    arguments = {"purpose": Phase.ADVERTISE, "session": "s1", "public_key": DEVICE.public_key} | changed
    return open_signed(signed, KeyAdvertisement, **arguments)  # type: ignore[arg-type]


def test_what_was_signed_opens() -> None:
    assert opened(SIGNED) == MESSAGE
    assert opened(SIGNED, purpose="advertise") == MESSAGE


def test_signing_the_same_twice_gives_the_same_bytes() -> None:
    assert sign(MESSAGE, Phase.ADVERTISE, "s1", DEVICE) == SIGNED


@pytest.mark.parametrize(
    "changed", [{"purpose": Phase.SHARE}, {"session": "s2"}, {"session": ""}, {"public_key": OTHER.public_key}]
)
def test_another_purpose_session_or_key_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(BadSignature):
        opened(SIGNED, **changed)


def test_purpose_and_session_cannot_run_into_each_other() -> None:
    with pytest.raises(BadSignature):
        sign(MESSAGE, "advertise\0s", "1", DEVICE)


@pytest.mark.parametrize("field", ["device", "payload", "signature"])
def test_any_flipped_byte_is_refused(field: str) -> None:
    value = bytearray(getattr(SIGNED, field))
    for at in range(len(value)):
        value[at] ^= 1
        with pytest.raises(BadSignature):
            opened(msgspec.structs.replace(SIGNED, **{field: bytes(value)}))
        value[at] ^= 1


@pytest.mark.parametrize("signature", [b"", b"short", bytes(64), bytes(65)])
def test_a_signature_of_any_length_is_refused_not_crashed_on(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        opened(msgspec.structs.replace(SIGNED, signature=signature))


def test_a_correctly_signed_message_of_another_type_is_malformed() -> None:
    signed = sign(MaskedInput(packed=b"x"), Phase.ADVERTISE, "s1", DEVICE)
    with pytest.raises(MalformedMessage):
        opened(signed)


def test_an_identity_survives_storage_and_hides_its_secret() -> None:
    again = Identity.from_private_bytes(DEVICE.private_bytes())
    assert again.public_key == DEVICE.public_key
    assert again.fingerprint == fingerprint(DEVICE.public_key) == SIGNED.device
    assert len(again.fingerprint) == 16
    assert DEVICE.private_bytes().hex() not in repr(DEVICE)
    assert repr(DEVICE.private_bytes()) not in repr(DEVICE)


def test_a_key_file_of_the_wrong_size_says_what_to_do() -> None:
    with pytest.raises(FederatedProtocolError, match="enrol anew"):
        Identity.from_private_bytes(b"x")
