"""Key derivations against known answers, and against a second derivation written from the standards alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.messages import Roster, RosterEntry
from federated_protocol.secure_aggregation import derivation, share_box
from federated_protocol.secure_aggregation.masks import MaskGenerator

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
PREFIX = b"federated-keyboard/1 secure aggregation "


def unhex(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869."""
    key = hmac.digest(salt, secret, "sha256")
    out = block = b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out += block
    return out[:size]


@pytest.fixture(scope="module")
def roster() -> Roster:
    private_keys = [X25519PrivateKey.from_private_bytes(bytes([k]) * 32) for k in range(1, 7)]
    public_keys = [key.public_key().public_bytes_raw() for key in private_keys]
    entries = tuple(
        RosterEntry(index=i + 1, cipher_key=public_keys[2 * i], mask_key=public_keys[2 * i + 1]) for i in range(3)
    )
    return Roster(entries=entries, threshold=2)


@pytest.fixture(scope="module")
def context(roster: Roster) -> bytes:
    return derivation.session_context("session-1", b"\x11" * 32, roster)


def agreement(private: int, roster: Roster, peer: int, kind: str) -> bytes:
    key = X25519PrivateKey.from_private_bytes(bytes([private]) * 32)
    return derivation.agree(key, getattr(roster.entries[peer - 1], kind))


def test_the_context_covers_session_plan_and_roster(roster: Roster, context: bytes) -> None:
    listed = b"".join(struct.pack(">I", e.index) + e.cipher_key + e.mask_key for e in roster.entries)
    digest = hashlib.sha256(PREFIX + b"roster\0" + struct.pack(">II", 2, 3) + listed).digest()
    parts = b"".join(struct.pack(">I", len(p)) + p for p in (b"session-1", b"\x11" * 32, digest))
    assert context == hashlib.sha256(PREFIX + b"context\0" + parts).digest() == unhex("context")


def test_the_mask_key_of_a_pair_is_the_same_from_both_sides(roster: Roster, context: bytes) -> None:
    one = derivation.pair_mask_key(agreement(2, roster, 3, "mask_key"), context, 1, 3)
    other = derivation.pair_mask_key(agreement(6, roster, 1, "mask_key"), context, 3, 1)
    info = PREFIX + b"pair mask\0" + struct.pack(">II", 1, 3)
    expected = hkdf(agreement(2, roster, 3, "mask_key"), context, info, 16)
    assert one == other == expected == unhex("pair_mask_key_1_3")


def test_the_self_mask_key(context: bytes) -> None:
    key = derivation.self_mask_key(b"\x22" * 32, context, 2)
    info = PREFIX + b"self mask\0" + struct.pack(">II", 2, 2)
    assert key == hkdf(b"\x22" * 32, context, info, 16) == unhex("self_mask_key_2")


def test_share_keys_differ_by_direction(roster: Roster, context: bytes) -> None:
    secret = agreement(1, roster, 2, "cipher_key")
    there = derivation.share_key(secret, context, 1, 2)
    back = derivation.share_key(secret, context, 2, 1)
    assert there == hkdf(secret, context, PREFIX + b"shares\0" + struct.pack(">II", 1, 2), 32) == unhex("share_key_1_2")
    assert back == unhex("share_key_2_1") != there


def test_a_mask_is_the_aes_ctr_key_stream_in_little_endian_words() -> None:
    vector = np.zeros(5, dtype=np.uint32)
    masks = MaskGenerator(5)
    masks.add(vector, bytes(range(16)))
    assert vector.astype("<u4").tobytes() == unhex("mask_words")
    masks.subtract(vector, bytes(range(16)))
    assert not vector.any()


def test_a_sealed_pair_of_shares(context: bytes) -> None:
    sealed = share_box.seal(unhex("share_key_1_2"), 1, 2, b"\x33" * 33, b"\x44" * 33)
    assert sealed == unhex("sealed_1_2")
    assert share_box.open_box(unhex("share_key_1_2"), 1, 2, sealed) == (b"\x33" * 33, b"\x44" * 33)


def test_any_change_of_session_plan_keys_order_or_threshold_changes_every_key(roster: Roster, context: bytes) -> None:
    entries: Any = roster.entries
    others = [
        derivation.session_context("session-2", b"\x11" * 32, roster),
        derivation.session_context("session-1", b"\x12" * 32, roster),
        derivation.session_context("session-1", b"\x11" * 32, Roster(entries, 3)),
        derivation.session_context("session-1", b"\x11" * 32, Roster(entries[:2], 2)),
        derivation.session_context("session-1", b"\x11" * 32, Roster(entries[::-1], 2)),
        derivation.session_context("session-11", b"\x11" * 31, roster),
    ]
    assert len({context, *others}) == 7
