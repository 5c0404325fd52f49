"""The encrypted pair of shares that one participant sends to another through the coordinator.

AES-256-GCM under a key of this sender, recipient and run (:func:`.derivation.share_key`); the key encrypts nothing
else, so the nonce is constant.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.secure_aggregation.shamir import SHARE_BYTES

CIPHERTEXT_BYTES = 2 * SHARE_BYTES + 16
_NONCE = bytes(12)


def seal(key: bytes, sender: int, recipient: int, mask_key_share: bytes, self_mask_share: bytes) -> bytes:
    """Encrypt a pair of 32-byte shares; 80 bytes."""
    return AESGCM(key).encrypt(_NONCE, mask_key_share + self_mask_share, struct.pack(">II", sender, recipient))


def open_box(key: bytes, sender: int, recipient: int, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Decrypt a pair of shares: (of the sender's masking key, of its self-mask seed).

    Raises:
        ProtocolError: of another size, sender, recipient, session, plan or roster, or changed on the way.
    """
    try:
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise InvalidTag
        plaintext = AESGCM(key).decrypt(_NONCE, ciphertext, struct.pack(">II", sender, recipient))
    except InvalidTag:
        raise ProtocolError(
            ProtocolErrorReason.BAD_CIPHERTEXT,
            "shares do not open: the peers were not shown the same session, plan and keys; sit this round out",
        ) from None
    return plaintext[:SHARE_BYTES], plaintext[SHARE_BYTES:]
