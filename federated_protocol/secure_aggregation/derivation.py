"""Keys from agreements and seeds, each bound to everything that gives it its meaning.

Every key is ``HKDF-SHA256(secret, salt = context, info = label ‖ index ‖ index)``. The context is a digest of protocol
version, session, plan and *all* advertised keys, so that two devices that were shown different rosters, plans or
sessions share no key: their messages do not open and their masks do not cancel. Labels and indices separate roles and
directions. As each key encrypts exactly one thing, its nonce may be constant.
"""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.messages import Roster
from federated_protocol.plan import PROTOCOL_VERSION

PUBLIC_KEY_BYTES = 32
PRIVATE_KEY_BYTES = 32
SELF_MASK_SEED_BYTES = 32
MASK_KEY_BYTES = 16
SHARE_KEY_BYTES = 32

_PREFIX = b"federated-keyboard/%d secure aggregation " % PROTOCOL_VERSION
_CONTEXT_LABEL = _PREFIX + b"context\0"
_ROSTER_LABEL = _PREFIX + b"roster\0"
_PAIR_MASK_LABEL = _PREFIX + b"pair mask\0"
_SELF_MASK_LABEL = _PREFIX + b"self mask\0"
_SHARE_LABEL = _PREFIX + b"shares\0"


def roster_digest(roster: Roster) -> bytes:
    """SHA-256 over the threshold and all entries (index, cipher key, mask key), 32 bytes."""
    digest = hashlib.sha256(_ROSTER_LABEL)
    digest.update(struct.pack(">II", roster.threshold, len(roster.entries)))
    for entry in roster.entries:
        digest.update(struct.pack(">I", entry.index) + entry.cipher_key + entry.mask_key)
    return digest.digest()


def session_context(session: str, plan_digest: bytes, roster: Roster) -> bytes:
    """32 bytes that name this run of the protocol: version, session, plan and roster."""
    session_bytes = session.encode()
    digest = hashlib.sha256(_CONTEXT_LABEL)
    for part in (session_bytes, plan_digest, roster_digest(roster)):
        digest.update(struct.pack(">I", len(part)) + part)
    return digest.digest()


def agree(private_key: X25519PrivateKey, public_key: bytes) -> bytes:
    """X25519 agreement, 32 bytes, to be fed to a derivation and never used as it is.

    Raises:
        ProtocolError: the public key is not 32 bytes, or a point of small order.
    """
    try:
        return private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        raise ProtocolError(ProtocolErrorReason.BAD_KEY, "a participant's public key is not usable") from None


def pair_mask_key(agreement: bytes, context: bytes, one: int, other: int) -> bytes:
    """PRG key of the mask that two participants share; the same from both sides."""
    return _derive(agreement, context, _PAIR_MASK_LABEL, min(one, other), max(one, other), MASK_KEY_BYTES)


def self_mask_key(seed: bytes, context: bytes, index: int) -> bytes:
    """PRG key of a participant's self-mask from its 32-byte seed."""
    return _derive(seed, context, _SELF_MASK_LABEL, index, index, MASK_KEY_BYTES)


def share_key(agreement: bytes, context: bytes, sender: int, recipient: int) -> bytes:
    """AES-256-GCM key of the one message with shares from ``sender`` to ``recipient``."""
    return _derive(agreement, context, _SHARE_LABEL, sender, recipient, SHARE_KEY_BYTES)


def _derive(secret: bytes, context: bytes, label: bytes, first: int, second: int, size_bytes: int) -> bytes:
    info = label + struct.pack(">II", first, second)
    return HKDF(algorithm=SHA256(), length=size_bytes, salt=context, info=info).derive(secret)
