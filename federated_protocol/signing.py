"""Identity keys (Ed25519) and what they sign.

A signature covers a purpose and a session beside the payload, so that a signed message of one step or round is
worthless in any other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federated_protocol import wire
from federated_protocol.errors import BadSignature, FederatedProtocolError
from federated_protocol.messages import Message, Phase, SignedMessage

T = TypeVar("T", bound=msgspec.Struct)

CHECK_IN = "check-in"
"""Purpose of a signed :class:`~federated_protocol.messages.CheckIn`; the other purposes are the phases' values."""

DOMAIN = b"federated-keyboard/1\0"
BOUND_DOMAIN = b"federated-keyboard/1 in a round\0"
BINDING_BYTES = 32
KEY_BYTES = 32
SIGNATURE_BYTES = 64
FINGERPRINT_BYTES = 16


def fingerprint(public_key: bytes) -> bytes:
    """Name of an identity key: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(public_key).digest()[:FINGERPRINT_BYTES]


@dataclass(frozen=True)
class Identity:
    """An Ed25519 key pair: a device's, or an authority's. The private half never shows in ``repr``."""

    private_key: Ed25519PrivateKey = field(repr=False)
    public_key: bytes
    """Raw public key, 32 bytes."""

    @classmethod
    def generate(cls) -> Identity:
        """Make a new key pair from the operating system's randomness."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> Identity:
        """Load a key pair from the 32 bytes that :meth:`private_bytes` gave."""
        if len(raw) != KEY_BYTES:
            raise FederatedProtocolError(
                f"an identity key has {KEY_BYTES} bytes, this one has {len(raw)}; restore the key file or enrol anew"
            )
        return cls._of(Ed25519PrivateKey.from_private_bytes(raw))

    @classmethod
    def _of(cls, private_key: Ed25519PrivateKey) -> Identity:
        return cls(private_key=private_key, public_key=private_key.public_key().public_bytes_raw())

    def private_bytes(self) -> bytes:
        """The 32 secret bytes, for a file that only its owner can read."""
        return self.private_key.private_bytes_raw()

    @property
    def fingerprint(self) -> bytes:
        """The 16 bytes that name this key on the wire."""
        return fingerprint(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature over ``data``, 64 bytes."""
        return self.private_key.sign(data)


def signed_bytes(purpose: str | Phase, session: str, payload: bytes, binding: bytes = b"") -> bytes:
    """What a signature covers: domain, purpose, session, the run it belongs to, and payload.

    Neither purpose nor session may hold a zero byte, and a binding has 32 bytes and a domain of its own, which keeps
    the encoding unambiguous.
    """
    if len(binding) not in (0, BINDING_BYTES):
        raise BadSignature(f"a binding has {BINDING_BYTES} bytes")
    purpose_bytes, session_bytes = str(purpose).encode(), session.encode()
    if b"\0" in purpose_bytes or b"\0" in session_bytes:
        raise BadSignature("purpose and session must not contain zero bytes")
    domain = BOUND_DOMAIN if binding else DOMAIN
    return domain + purpose_bytes + b"\0" + session_bytes + b"\0" + binding + payload


def check_signature(signature: bytes, data: bytes, public_key: bytes) -> None:
    """Raise :class:`BadSignature` unless ``signature`` is that of ``public_key`` over ``data``."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != KEY_BYTES:
        raise BadSignature("a signature has 64 bytes and a public key 32; sign again with the enrolled identity key")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise BadSignature(
            "the signature does not fit this device, purpose and session; sign again with the enrolled identity key"
        ) from None


def sign(
    message: Message, purpose: str | Phase, session: str, identity: Identity, binding: bytes = b""
) -> SignedMessage:
    """Encode ``message`` and put it in a signed envelope.

    Args:
        message: what the device says.
        purpose: :data:`CHECK_IN` or the phase.
        session: session id; empty for a check-in.
        identity: the device's identity key.
        binding: 32 bytes that name the run of secure aggregation the message belongs to; empty outside of one.
    """
    payload = wire.encode(message)
    return SignedMessage(
        device=identity.fingerprint,
        payload=payload,
        signature=identity.sign(signed_bytes(purpose, session, payload, binding)),
    )


def open_signed(
    signed: SignedMessage,
    kind: type[T],
    purpose: str | Phase,
    session: str,
    public_key: bytes,
    *,
    binding: bytes = b"",
    limit_bytes: int = wire.LARGEST_MESSAGE_BYTES,
) -> T:
    """Verify an envelope and decode what it holds; nothing is decoded before the signature is verified.

    Raises:
        BadSignature: wrong key, purpose, session, binding or payload, or the envelope names another device.
        MalformedMessage: correctly signed, but not a ``kind``.
    """
    if signed.device != fingerprint(public_key):
        raise BadSignature("the envelope names another device than the key it is checked with")
    check_signature(signed.signature, signed_bytes(purpose, session, signed.payload, binding), public_key)
    return wire.decode(signed.payload, kind, limit_bytes=limit_bytes)
