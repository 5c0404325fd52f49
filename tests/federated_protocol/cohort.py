"""A cohort of devices that run secure aggregation with a coordinator in memory, leaving when told to."""

from __future__ import annotations

import enum
import functools
import random
from collections.abc import Mapping, Sequence

import numpy as np

from federated_protocol import wire
from federated_protocol.enrolment import issue
from federated_protocol.messages import (
    Confirmations,
    EncryptedShares,
    KeyAdvertisement,
    Mailbox,
    MaskedInput,
    Message,
    Phase,
    Roster,
    SignedMessage,
    Survivors,
    Unmasking,
)
from federated_protocol.plan import Adversary, ThreatModel
from federated_protocol.secure_aggregation import (
    Advertised,
    AggregationClient,
    Directory,
    MaskedSum,
    RoundBinding,
    check_confirmation,
    check_shares,
    check_unmasking,
    confirmations,
    indices_of,
    route,
    solve,
    unmask,
)
from federated_protocol.signing import Identity, open_signed, sign
from federated_protocol.trust import TrustStore
from federated_protocol.vector_layout import Vector, VectorField, VectorLayout

BINDING = RoundBinding("session-1", bytes(range(32)), bytes(range(32, 64)), "task", 3, 1)
THREAT = ThreatModel(dropout=0.3)
SPARSE = ThreatModel(corrupt=0.0, dropout=0.1, adversary=Adversary.HONEST_BUT_CURIOUS, sigma=10, eta=10)
"""Weak enough that a cohort of twenty gets a sparse graph."""
NOW = 1000.0


class Leaves(enum.IntEnum):
    """When a device vanishes; each value is the last step it answered."""

    BEFORE_ADVERTISE = 0
    AFTER_ADVERTISE = 1
    AFTER_SHARE = 2
    AFTER_MASKED_INPUT = 3
    AFTER_CONFIRM = 4
    NEVER = 5


@functools.cache
def authority() -> Identity:
    return Identity.from_private_bytes(b"\x42" * 32)


@functools.cache
def identities() -> list[Identity]:
    """Identity keys in the order of their fingerprints: the i-th advertiser of a full cohort has index i."""
    made = [Identity.from_private_bytes(random.Random(i).randbytes(32)) for i in range(200)]
    return sorted(made, key=lambda identity: identity.fingerprint)


@functools.cache
def certificate(i: int) -> bytes:
    key = identities()[i - 1].public_key
    return issue(authority(), key, authority_name="test", not_before=0.0, not_after=1e9).encode()


@functools.cache
def trust() -> TrustStore:
    return TrustStore.pinned(authority().public_key)


def vouch(raw: bytes) -> object:
    return trust().verify(raw, NOW)


class Cohort:
    """Devices 1..n of one session; ``vectors[i]`` is device i's, ``leaves[i]`` when it goes."""

    def __init__(
        self,
        vectors: Mapping[int, Vector],
        layout: VectorLayout,
        leaves: Mapping[int, Leaves] | None = None,
        *,
        floor: int = 2,
        seed: int = 0,
        threat: ThreatModel = THREAT,
        binding: RoundBinding = BINDING,
        sparse: bool = False,
    ) -> None:
        self.layout, self.threat, self.binding, self.floor = layout, threat, binding, floor
        self.sparse = sparse
        leaves = leaves or {}
        present = [i for i in sorted(vectors) if leaves.get(i, Leaves.NEVER) > Leaves.BEFORE_ADVERTISE]
        index = {i: position for position, i in enumerate(present, start=1)}
        self.identities = {index[i]: identities()[i - 1] for i in present}
        self.certificates = {index[i]: certificate(i) for i in present}
        self.clients = {index[i]: self.new_client(index[i], random.Random(seed * 1000 + i)) for i in present}
        self.vectors = {index[i]: vectors[i] for i in present}
        self.leaves = {index[i]: leaves.get(i, Leaves.NEVER) for i in present}
        self.signed: dict[Phase, dict[int, SignedMessage]] = {phase: {} for phase in Phase}
        for i, client in self.clients.items():
            self.send(i, Phase.ADVERTISE, client.advertise())
        self.roster_of: dict[int, Roster] = {}
        self.mailboxes: dict[int, Mailbox] = {}
        self.inputs: dict[int, MaskedInput] = {}
        self.survivors_of: dict[int, Survivors] = {}
        self.confirmations_of: dict[int, Confirmations] = {}
        self.unmaskings: dict[int, Unmasking] = {}

    def new_client(self, i: int, rng: random.Random | None = None, **changed: object) -> AggregationClient:
        arguments: dict[str, object] = {
            "device_key": self.identities[i].public_key,
            "vouch": vouch,
            "floor": self.floor,
            "threat": self.threat,
        }
        arguments |= {"rng": rng.randbytes} if rng else {}
        return AggregationClient(self.binding, self.layout, **(arguments | changed))  # type: ignore[arg-type]

    def send(self, i: int, phase: Phase, message: Message) -> Message:
        """Sign what device i says and open it as the coordinator does."""
        client, identity = self.clients[i], self.identities[i]
        signed = sign(message, phase, self.binding.session, identity, client.binding)
        self.signed[phase][i] = signed
        return open_signed(
            signed, type(message), phase, self.binding.session, identity.public_key, binding=client.binding
        )

    def still_there(self, after: Leaves) -> list[int]:
        return [i for i, last in self.leaves.items() if last >= after]

    def advertised(self) -> dict[bytes, Advertised]:
        return {
            self.identities[i].fingerprint: Advertised(
                self.identities[i].public_key,
                self.certificates[i],
                wire.decode(signed.payload, KeyAdvertisement),
                signed.signature,
            )
            for i, signed in self.signed[Phase.ADVERTISE].items()
        }

    def directory_now(self) -> Directory:
        members = self.advertised()
        parameters = solve(len(members), self.threat) if self.sparse else None
        return Directory(self.binding, members, self.threat, parameters)

    def build(self) -> None:
        self.directory = self.directory_now()
        self.context = self.directory.context
        self.roster_of = {i: self.directory.roster(i) for i in self.clients}

    def share(self) -> None:
        self.build()
        self.shared: dict[int, EncryptedShares] = {}
        for i in self.still_there(Leaves.AFTER_SHARE):
            message = self.clients[i].share(self.roster_of[i])
            check_shares(message, self.context)
            self.shared[i] = self.send(i, Phase.SHARE, message)  # type: ignore[assignment]
        self.mailboxes = dict(route(self.shared.items(), self.context.graph))

    def mask(self) -> None:
        for i in self.still_there(Leaves.AFTER_MASKED_INPUT):
            message = self.clients[i].masked_input(self.mailboxes[i], self.vectors[i])
            self.inputs[i] = self.send(i, Phase.MASKED_INPUT, message)  # type: ignore[assignment]
        self.survivors_of = {i: self.directory.survivors(i, list(self.inputs), self.floor) for i in self.inputs}

    def confirm(self) -> None:
        for i in self.still_there(Leaves.AFTER_CONFIRM):
            message = self.clients[i].confirm(self.survivors_of[i])
            check_confirmation(message, self.context, self.inputs)
            self.send(i, Phase.CONFIRM, message)
        signatures = {i: signed.signature for i, signed in self.signed[Phase.CONFIRM].items()}
        self.confirmations_of = {i: confirmations(i, signatures, self.context) for i in signatures}

    def reveal(self) -> None:
        for i in self.still_there(Leaves.NEVER):
            message = self.clients[i].unmask(self.confirmations_of[i])
            check_unmasking(message, i, self.context.graph, self.mailboxes, self.inputs)
            self.unmaskings[i] = self.send(i, Phase.UNMASK, message)  # type: ignore[assignment]

    def mask_key(self, index: int) -> bytes:
        return wire.decode(self.signed[Phase.ADVERTISE][index].payload, KeyAdvertisement).mask_key

    def seed_commitment(self, index: int) -> bytes:
        return self.shared[index].seed_commitment

    def masked_sum(self) -> MaskedSum:
        total = MaskedSum(self.layout)
        for i, message in self.inputs.items():
            total.add(i, message)
        return total

    def open(self, **changed: object) -> Vector:
        arguments: dict[str, object] = {
            "context": self.context,
            "commitments": self,
            "u2": list(self.mailboxes),
            "u3": list(self.inputs),
            "masked_sum": self.masked_sum(),
            "unmaskings": self.unmaskings,
        }
        return unmask(**(arguments | changed))  # type: ignore[arg-type]

    def run(self, **changed: object) -> Vector:
        self.share()
        self.mask()
        self.confirm()
        self.reveal()
        return self.open(**changed)

    def plain_sum(self) -> Vector:
        """What the opened sum must be: the survivors' vectors added in the clear, in Python's integers."""
        columns = [sum(int(self.vectors[i][k]) for i in self.inputs) for k in range(self.layout.length)]
        moduli = [field.modulus for field in self.layout.fields for _ in range(field.length)]
        return np.array([c % m for c, m in zip(columns, moduli, strict=True)], dtype=np.uint32)


def make_layout(fields: Sequence[tuple[int, int]]) -> VectorLayout:
    return VectorLayout(tuple(VectorField(f"f{k}", length, bits) for k, (length, bits) in enumerate(fields)))


def random_vectors(n: int, layout: VectorLayout, seed: int = 0) -> dict[int, Vector]:
    rng = np.random.default_rng(seed)
    moduli = np.array([field.modulus for field in layout.fields for _ in range(field.length)], dtype=np.uint64)
    return {i: rng.integers(0, moduli, dtype=np.uint64).astype(np.uint32) for i in range(1, n + 1)}


class Kit:
    """The helpers above, handed to tests by one fixture."""

    Cohort = Cohort
    Leaves = Leaves
    layout = staticmethod(make_layout)
    vectors = staticmethod(random_vectors)
    binding = BINDING
    threat = THREAT
    sparse = SPARSE
    now = NOW
    authority = staticmethod(authority)
    identities = staticmethod(identities)
    certificate = staticmethod(certificate)
    vouch = staticmethod(vouch)
    indices_of = staticmethod(indices_of)
