"""Keys and digests, each bound to everything that gives it its meaning.

Two digests name a run. A :class:`RoundBinding` exists before anybody advertised: protocol version, task, round,
attempt, session, digest of the plan and of the model. A :class:`RunContext` adds the graph and the root of *all*
advertised keys. Every key is ``HKDF-SHA256(secret, salt = context, info = label ‖ index ‖ index)``, every signature
covers one of the digests; so devices that were shown different plans, models, keys or graphs share no key, accept no
signature of each other, and their masks do not cancel. Labels and indices separate roles and directions. As each key
encrypts exactly one thing, its nonce may be constant.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.messages import KeyAdvertisement
from federated_protocol.plan import PROTOCOL_VERSION, Plan, plan_digest
from federated_protocol.secure_aggregation.graph import Graph
from federated_protocol.secure_aggregation.merkle import leaf_hash
from federated_protocol.secure_aggregation.parameters import GraphParameters

PUBLIC_KEY_BYTES = 32
PRIVATE_KEY_BYTES = 32
SELF_MASK_SEED_BYTES = 32
MASK_KEY_BYTES = 16
SHARE_KEY_BYTES = 32
DIGEST_BYTES = 32

_BINDING_LABEL = b"federated-keyboard/%d secure aggregation round\0"
"""With the protocol version that the cohort speaks: everything below depends on the digest that begins with it."""
_PREFIX = b"federated-keyboard/1 secure aggregation "
_CONTEXT_LABEL = _PREFIX + b"context\0"
_LEAF_LABEL = _PREFIX + b"keys\0"
_CONFIRMATION_LABEL = _PREFIX + b"survivors\0"
_COMMITMENT_LABEL = _PREFIX + b"self mask commitment\0"
_PAIR_MASK_LABEL = _PREFIX + b"pair mask\0"
_SELF_MASK_LABEL = _PREFIX + b"self mask\0"
_SHARE_LABEL = _PREFIX + b"shares\0"


@dataclass(frozen=True)
class RoundBinding:
    """What one attempt of a round is about, agreed before any key is made."""

    session: str
    plan_digest: bytes
    """SHA-256 of the plan's canonical encoding."""
    model_digest: bytes
    """SHA-256 of the model artifact the update starts from."""
    task: str
    round: int
    attempt: int
    version: int = PROTOCOL_VERSION
    """The protocol version that the cohort speaks."""

    @classmethod
    def of(cls, plan: Plan) -> RoundBinding:
        """The binding of a plan.

        Raises:
            ProtocolError: the plan's model digest is no SHA-256 in hex.
        """
        try:
            model_digest = bytes.fromhex(plan.model_digest)
        except ValueError:
            model_digest = b""
        if len(model_digest) != DIGEST_BYTES:
            raise ProtocolError(ProtocolErrorReason.BAD_PARAMETERS, "the plan's model digest is no SHA-256 in hex")
        return cls(
            plan.session,
            plan_digest(plan),
            model_digest,
            plan.task,
            plan.round,
            plan.attempt,
            plan.protocol_version,
        )

    @functools.cached_property
    def digest(self) -> bytes:
        """32 bytes that signatures over key advertisements cover."""
        numbers = struct.pack(">QQ", self.round, self.attempt)
        label = _BINDING_LABEL % self.version
        return _digest(label, self.session.encode(), self.task.encode(), numbers, self.plan_digest, self.model_digest)


@dataclass(frozen=True)
class RunContext:
    """One run of the protocol: the round, the graph, and everybody's keys."""

    binding: RoundBinding
    parameters: GraphParameters
    root: bytes
    """Merkle root of all advertised keys, 32 bytes."""

    @functools.cached_property
    def digest(self) -> bytes:
        """32 bytes that every key and every later signature covers."""
        graph = struct.pack(">III", self.parameters.n, self.parameters.neighbours, self.parameters.threshold)
        return _digest(_CONTEXT_LABEL, self.binding.digest, graph, self.root)

    @functools.cached_property
    def graph(self) -> Graph:
        """Who is whose neighbour."""
        return Graph(self.parameters, self.binding.session, self.root)


def key_leaf(device_key: bytes, keys: KeyAdvertisement) -> bytes:
    """Leaf of the Merkle tree of U1: an identity key and what it advertised."""
    return leaf_hash(_LEAF_LABEL + device_key + keys.cipher_key + keys.mask_key)


def confirmation_digest(context: bytes, members: bytes) -> bytes:
    """What a device confirms: this run (session and root of U1 included) and the bit map of U3."""
    return _digest(_CONFIRMATION_LABEL, context, members)


def seed_commitment(seed: bytes, context: bytes, index: int) -> bytes:
    """What a self-mask seed is compared with when it is opened."""
    return _digest(_COMMITMENT_LABEL, context, struct.pack(">I", index), seed)


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


def _digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over the label and the parts, each behind its length."""
    digest = hashlib.sha256(label)
    for part in parts:
        digest.update(struct.pack(">I", len(part)) + part)
    return digest.digest()
