"""Derivations against known answers, and against a second derivation written from the standards alone.

``vectors.json`` holds the answers in hex; everything needed to compute them is in this file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import random
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import CheckIn, Confirmation, KeyAdvertisement, Phase
from federated_protocol.plan import (
    AggregationSetting,
    MetricSetting,
    MetricSlot,
    Plan,
    SubsetBlock,
    TaskKind,
    TrainingSetting,
    plan_digest,
)
from federated_protocol.privacy import usage_vector
from federated_protocol.renewal import ask_renewal
from federated_protocol.secure_aggregation import GraphParameters, RoundBinding, RunContext, derivation, share_box
from federated_protocol.secure_aggregation.bitmap import pack_set
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.secure_aggregation.merkle import MerkleTree, root_from
from federated_protocol.secure_aggregation.shamir import PRIME, deal, open_secret
from federated_protocol.signing import CHECK_IN, Identity, sign, signed_bytes
from federated_protocol.trust import AuthorityKey, issue_trust_list
from federated_protocol.update_codec import Subspace, solve_codec
from federated_protocol.update_codec.rotation import rotate
from federated_protocol.update_codec.subset import chosen_coordinates
from federated_protocol.vector_layout import VectorField, VectorLayout, pack

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
PREFIX = b"federated-keyboard/1 secure aggregation "

SESSION, TASK, ROUND, ATTEMPT = "session-1", "task-1", 7, 2
PLAN, MODEL = b"\x11" * 32, b"\x12" * 32
N, K, T = 10, 4, 3
DEVICES = [Identity.from_private_bytes(bytes([0x40 + i]) * 32) for i in range(N)]
PRIVATE = [(bytes([1 + 2 * i]) * 32, bytes([2 + 2 * i]) * 32) for i in range(N)]


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


KEYS = [KeyAdvertisement(public(cipher), public(mask)) for cipher, mask in PRIVATE]
BINDING = RoundBinding(SESSION, PLAN, MODEL, TASK, ROUND, ATTEMPT, version=1)
TREE = MerkleTree([derivation.key_leaf(d.public_key, k) for d, k in zip(DEVICES, KEYS, strict=True)])
CONTEXT = RunContext(BINDING, GraphParameters(N, K, T), TREE.root)


# -- the same once more, from the standards ----------------------------------------------------------------------


def sha(label: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(label + b"".join(struct.pack(">I", len(p)) + p for p in parts)).digest()


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869."""
    key = hmac.digest(salt, secret, "sha256")
    out = block = b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out += block
    return out[:size]


def binding() -> bytes:
    return sha(PREFIX + b"round\0", SESSION.encode(), TASK.encode(), struct.pack(">QQ", ROUND, ATTEMPT), PLAN, MODEL)


def root() -> bytes:
    level = [
        hashlib.sha256(b"\0" + PREFIX + b"keys\0" + d.public_key + k.cipher_key + k.mask_key).digest()
        for d, k in zip(DEVICES, KEYS, strict=True)
    ]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + p[0] + p[1]).digest() if len(p) == 2 else p[0] for p in pairs]
    return level[0]


def context() -> bytes:
    return sha(PREFIX + b"context\0", binding(), struct.pack(">III", N, K, T), root())


def ring() -> bytes:
    name = SESSION.encode()
    seed = hashlib.sha256(PREFIX + b"permutation\0" + struct.pack(">I", len(name)) + name + root()).digest()
    stream = Cipher(AES(seed[:16]), CTR(bytes(16))).encryptor().update(bytes(8 * N))
    words = struct.unpack(f"<{N}Q", stream)
    return bytes(sorted(range(1, N + 1), key=lambda index: (words[index - 1], index)))


def derived(secret: bytes, label: bytes, one: int, other: int, size: int) -> bytes:
    return hkdf(secret, context(), PREFIX + label + b"\0" + struct.pack(">II", one, other), size)


def agreement(private: bytes, theirs: bytes) -> bytes:
    return derivation.agree(X25519PrivateKey.from_private_bytes(private), theirs)


def stream_of(domain: bytes, seed: bytes, size: int) -> bytes:
    key = hashlib.sha256(b"federated-keyboard/1 " + domain + b"\0" + seed).digest()[:16]
    return Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(size))


def rotated() -> bytes:
    """Six numbers: windows of four, first with the first four signs, then with the next four; H4 / 2 by hand."""
    bits = [stream_of(b"rotation signs", SEED, 1)[0] >> i & 1 for i in range(8)]
    x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    for start, signs in ((0, bits[:4]), (2, bits[4:])):
        part = [-value if sign else value for value, sign in zip(x[start : start + 4], signs, strict=True)]
        x[start : start + 4] = [
            sum(-part[j] if bin(i & j).count("1") % 2 else part[j] for j in range(4)) / 2 for i in range(4)
        ]
    return struct.pack("<6d", *x)


def subset() -> bytes:
    lots = struct.unpack("<11Q", stream_of(b"coordinate subset", SEED, 88))
    first = sorted(sorted(range(5), key=lambda i: (lots[i], i))[:2])
    return bytes(first + sorted(sorted(range(5, 11), key=lambda i: (lots[i], i))[:3]))


def subspace() -> bytes:
    """For each of eleven weights the coordinate that moves it, then a byte for the sign."""
    words = struct.unpack("<11Q", stream_of(b"random subspace", SEED, 88))
    bucket = [0] * 11
    for start, length, first, chosen in ((0, 5, 0, 2), (5, 6, 2, 3)):
        order = sorted(range(length), key=lambda i: (words[start + i] >> 1, i))
        for position, i in enumerate(order):
            bucket[start + i] = first + position % chosen
    return bytes(bucket) + bytes(word & 1 for word in words)


def packed() -> bytes:
    number = sum(value << 13 * i for i, value in enumerate(WORDS[:3]))
    other = sum(value << 24 * i for i, value in enumerate(WORDS[3:]))
    return number.to_bytes(5, "little") + other.to_bytes(6, "little")


SEED = b"\x22" * 32
WORDS = [1, 0x1FFF, 0x0ABC, 0xFFFFFF, 0x123456]
LAYOUT = VectorLayout((VectorField("update", 3, 13), VectorField("counters", 2, 24)))
BLOCKS = (SubsetBlock(length=5, chosen=2), SubsetBlock(length=6, chosen=3))
SUBSPACE = Subspace(SEED, BLOCKS)
PLAN_OF_ALL = Plan(
    protocol_version=1,
    task=TASK,
    kind=TaskKind.TRAINING,
    round=ROUND,
    attempt=ATTEMPT,
    session=SESSION,
    model_version=4,
    model_digest=MODEL.hex(),
    training=TrainingSetting(epochs=2, batch_size=16, learning_rate=0.25, weight_cap=64),
    codec=solve_codec(11, 1.0, 0.25, SEED, 8, 100, subset=BLOCKS, subset_seed=SEED),
    aggregation=AggregationSetting(smallest_aggregate=20, largest_cohort=100),
    metrics=MetricSetting(slots=(MetricSlot("treatment", 4),), score_edges=(-1.0, 0.5)),
)
CHECK_IN_MESSAGE = CheckIn(
    protocol_version=1, app_version="1.0", certificate=b"c", nonce=b"n" * 16, issued_at=1.5, wants_round=True
)
MEMBERS = b"\xff\x02"
CERTIFICATE = issue(
    DEVICES[0], DEVICES[1].public_key, authority_name="authority", not_before=1.0, not_after=2.5, insecure_demo=True
)

TWO_WAYS = {
    "binding": (BINDING.digest, binding),
    "leaf_1": (
        derivation.key_leaf(DEVICES[0].public_key, KEYS[0]),
        lambda: hashlib.sha256(
            b"\0" + PREFIX + b"keys\0" + DEVICES[0].public_key + KEYS[0].cipher_key + KEYS[0].mask_key
        ).digest(),
    ),
    "root": (TREE.root, root),
    "context": (CONTEXT.digest, context),
    "ring": (bytes(CONTEXT.graph.ring), ring),
    "holders_of_ring_0": (
        bytes(CONTEXT.graph.holders(CONTEXT.graph.ring[0])),
        lambda: bytes([ring()[1], ring()[2], ring()[-1], ring()[-2]]),
    ),
    "pair_mask_key_1_3": (
        derivation.pair_mask_key(agreement(PRIVATE[2][1], KEYS[0].mask_key), CONTEXT.digest, 3, 1),
        lambda: derived(agreement(PRIVATE[0][1], KEYS[2].mask_key), b"pair mask", 1, 3, 16),
    ),
    "self_mask_key_2": (
        derivation.self_mask_key(SEED, CONTEXT.digest, 2),
        lambda: derived(SEED, b"self mask", 2, 2, 16),
    ),
    "share_key_1_2": (
        derivation.share_key(agreement(PRIVATE[0][0], KEYS[1].cipher_key), CONTEXT.digest, 1, 2),
        lambda: derived(agreement(PRIVATE[1][0], KEYS[0].cipher_key), b"shares", 1, 2, 32),
    ),
    "share_key_2_1": (
        derivation.share_key(agreement(PRIVATE[0][0], KEYS[1].cipher_key), CONTEXT.digest, 2, 1),
        lambda: derived(agreement(PRIVATE[1][0], KEYS[0].cipher_key), b"shares", 2, 1, 32),
    ),
    "seed_commitment_2": (
        derivation.seed_commitment(SEED, CONTEXT.digest, 2),
        lambda: sha(PREFIX + b"self mask commitment\0", context(), struct.pack(">I", 2), SEED),
    ),
    "confirmation": (
        derivation.confirmation_digest(CONTEXT.digest, MEMBERS),
        lambda: sha(PREFIX + b"survivors\0", context(), MEMBERS),
    ),
    "signed_advertisement": (
        signed_bytes(Phase.ADVERTISE, SESSION, wire.encode(KEYS[0]), BINDING.digest),
        lambda: b"federated-keyboard/1 in a round\0advertise\0session-1\0" + binding() + wire.encode(KEYS[0]),
    ),
    "advertisement_signature": (
        sign(KEYS[0], Phase.ADVERTISE, SESSION, DEVICES[0], BINDING.digest).signature,
        lambda: DEVICES[0].sign(
            b"federated-keyboard/1 in a round\0advertise\0session-1\0" + binding() + wire.encode(KEYS[0])
        ),
    ),
    "check_in_signature": (
        sign(CHECK_IN_MESSAGE, CHECK_IN, "", DEVICES[0]).signature,
        lambda: DEVICES[0].sign(b"federated-keyboard/1\0check-in\0\0" + wire.encode(CHECK_IN_MESSAGE)),
    ),
    "renewal_signature": (
        ask_renewal(DEVICES[1], b"certificate", DEVICES[2]).by_former,
        lambda: DEVICES[1].sign(
            b"federated-keyboard/1\0renewal\0\0\x94\xc4\x0bcertificate\xc4\x20"
            + DEVICES[2].public_key
            + b"\xc4\0\xc4\0"
        ),
    ),
    "binding_of_version_2": (
        dataclasses.replace(BINDING, version=2).digest,
        lambda: sha(
            b"federated-keyboard/2 secure aggregation round\0",
            SESSION.encode(),
            TASK.encode(),
            struct.pack(">QQ", ROUND, ATTEMPT),
            PLAN,
            MODEL,
        ),
    ),
    "plan_digest": (
        plan_digest(PLAN_OF_ALL),
        lambda: hashlib.sha256(
            msgspec.msgpack.encode(msgspec.to_builtins(PLAN_OF_ALL, builtin_types=(bytes,)))
        ).digest(),
    ),
    "binding_of_a_plan": (
        RoundBinding.of(PLAN_OF_ALL).digest,
        lambda: sha(
            PREFIX + b"round\0",
            SESSION.encode(),
            TASK.encode(),
            struct.pack(">QQ", ROUND, ATTEMPT),
            hashlib.sha256(wire.encode(PLAN_OF_ALL)).digest(),
            MODEL,
        ),
    ),
    "fingerprint": (DEVICES[0].fingerprint, lambda: hashlib.sha256(DEVICES[0].public_key).digest()[:16]),
    "rotated": (rotate(np.arange(1.0, 7.0), SEED).astype("<f8").tobytes(), rotated),
    "subset": (bytes(chosen_coordinates(BLOCKS, SEED)[0].tolist()), subset),
    "subspace": (bytes(SUBSPACE.columns()[0].tolist()) + bytes((SUBSPACE.columns()[1] < 0).tolist()), subspace),
    "usage_vector": (
        usage_vector(
            MetricSetting(slots=(MetricSlot("holdback", 0), MetricSlot("treatment", 4)), score_edges=(), exact=False),
            {"treatment/4/lines": 12, "treatment/4/offers": 3, "treatment/4/clicks": 1, "treatment/5/clicks": 9},
        )
        .astype("<f8")
        .tobytes(),
        lambda: struct.pack("<6d", 0, 0, 0, 1.5, 3, 2),
    ),
    "packed": (pack(np.array(WORDS, np.uint32), LAYOUT), packed),
    "bit_map": (pack_set([0, 3, 8], 10), lambda: (1 + 8 + 256).to_bytes(2, "little")),
    "confirmation_signature": (
        sign(Confirmation(MEMBERS * 16), Phase.CONFIRM, SESSION, DEVICES[0], CONTEXT.digest).signature,
        lambda: DEVICES[0].sign(
            b"federated-keyboard/1 in a round\0confirm\0session-1\0" + context() + b"\x91\xc4\x20" + MEMBERS * 16
        ),
    ),
}


@pytest.mark.parametrize("name", TWO_WAYS)
def test_a_derivation_gives_its_known_answer_and_that_of_the_standards(name: str) -> None:
    found, again = TWO_WAYS[name]
    assert found == again()
    assert found.hex() == VECTORS[name]


def more_answers() -> dict[str, bytes]:
    vector = np.zeros(5, dtype=np.uint32)
    MaskGenerator(5).add(vector, bytes(range(16)))
    shares = deal([b"\x33" * 32, b"\x44" * 32], 3, 4, random.Random(1).randbytes)
    lower, higher = np.zeros(5, np.uint32), np.zeros(5, np.uint32)
    MaskGenerator(5).add_pair(lower, bytes(range(16)), owner=1, peer=3)
    MaskGenerator(5).add_pair(higher, bytes(range(16)), owner=3, peer=1)
    assert not (lower + higher).any()
    return {
        "mask_words_of_the_lower_index": lower.astype("<u4").tobytes(),
        "proof_of_1_2_9": TREE.proof([0, 1, 8]),
        "opened": open_secret((2, 4, 1), [shares[x - 1][0] for x in (2, 4, 1)]),
        "mask_words": vector.astype("<u4").tobytes(),
        "sealed_1_2": share_box.seal(bytes.fromhex(VECTORS["share_key_1_2"]), 1, 2, b"\x33" * 32, b"\x44" * 32),
        "dealt": b"".join(share for pair in shares for share in pair),
        "certificate": CERTIFICATE.encode(),
        "trust_list": issue_trust_list(
            DEVICES[0],
            3,
            (AuthorityKey(DEVICES[0].public_key, 1.0, 2.0), AuthorityKey(DEVICES[1].public_key, 1.5, 9.0)),
            (b"r" * 16,),
            5.0,
        ).encode(),
    }


@pytest.mark.parametrize(
    "name",
    [
        "mask_words",
        "mask_words_of_the_lower_index",
        "sealed_1_2",
        "dealt",
        "opened",
        "proof_of_1_2_9",
        "certificate",
        "trust_list",
    ],
)
def test_bytes_that_travel_or_mask_are_the_known_ones(name: str) -> None:
    assert more_answers()[name].hex() == VECTORS[name]


def test_every_vector_is_one_of_a_test() -> None:
    assert set(VECTORS) == set(TWO_WAYS) | set(more_answers())


def test_a_proof_leads_to_the_root() -> None:
    leaves = {i: derivation.key_leaf(DEVICES[i].public_key, KEYS[i]) for i in (0, 1, 8)}
    assert root_from(leaves, N, bytes.fromhex(VECTORS["proof_of_1_2_9"])) == root()


def test_a_mask_is_the_aes_ctr_key_stream_in_little_endian_words() -> None:
    stream = Cipher(AES(bytes(range(16))), CTR(bytes(16))).encryptor().update(bytes(20))
    assert stream.hex() == VECTORS["mask_words"]


def test_dealt_shares_lie_on_the_polynomial_drawn() -> None:
    raw = random.Random(1).randbytes(48 * 4)
    drawn = [int.from_bytes(raw[at : at + 48], "big") for at in range(0, 192, 48)]
    shares = bytes.fromhex(VECTORS["dealt"])
    for which, secret in enumerate((b"\x33" * 32, b"\x44" * 32)):
        highest, middle = drawn[which], drawn[2 + which]
        for x in range(1, 5):
            at = 64 * (x - 1) + 32 * which
            expected = (highest * x * x + middle * x + int.from_bytes(secret, "big")) % PRIME
            assert int.from_bytes(shares[at : at + 32], "big") == expected


def test_any_change_of_what_a_run_is_about_changes_every_key() -> None:
    others = [
        dataclasses.replace(CONTEXT, binding=dataclasses.replace(BINDING, **change))
        for change in (
            {"session": "session-2"},
            {"plan_digest": bytes(32)},
            {"model_digest": bytes(32)},
            {"task": "task-2"},
            {"round": 8},
            {"attempt": 3},
            {"version": 2},
            {"session": "session-1t", "task": "ask-1"},
        )
    ]
    for parameters in (GraphParameters(11, K, T), GraphParameters(N, 6, T), GraphParameters(N, K, 4)):
        others.append(dataclasses.replace(CONTEXT, parameters=parameters))
    others.append(dataclasses.replace(CONTEXT, root=PLAN))
    digests = {context.digest for context in [CONTEXT, *others]}
    assert len(digests) == 13
    keys = {derivation.self_mask_key(SEED, digest, 1) for digest in digests}
    assert len(keys) == 13
