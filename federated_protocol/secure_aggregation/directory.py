"""U1 as the coordinator sees it: who advertised what, the tree over it, and what each device is shown of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.errors import ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import KeyAdvertisement, Roster, RosterEntry, Survivors
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import derivation
from federated_protocol.secure_aggregation.bitmap import pack_set
from federated_protocol.secure_aggregation.derivation import RoundBinding, RunContext
from federated_protocol.secure_aggregation.merkle import MerkleTree
from federated_protocol.secure_aggregation.parameters import GraphParameters, choose
from federated_protocol.signing import fingerprint

_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))  # no secret: any scalar tells points of small order


@dataclass(frozen=True, slots=True)
class Advertised:
    """One accepted key advertisement."""

    device_key: bytes
    """Ed25519 public key, 32 bytes, as certified."""
    certificate: bytes
    keys: KeyAdvertisement
    signature: bytes
    """Of the envelope, over the round's binding."""


def check_advertisement(message: KeyAdvertisement) -> None:
    """Raise :class:`ProtocolError` unless this is two different keys that peers can agree with.

    Points of small order are caught here, at one device, and not later at all of its neighbours.
    """
    keys = (message.cipher_key, message.mask_key)
    if any(len(key) != derivation.PUBLIC_KEY_BYTES for key in keys):
        raise ProtocolError(Reason.BAD_KEY, f"a public key has {derivation.PUBLIC_KEY_BYTES} bytes")
    if message.cipher_key == message.mask_key:
        raise ProtocolError(Reason.DUPLICATE_KEY, "the two public keys must differ")
    for key in keys:
        derivation.agree(_PROBE, key)


def indices_of(devices: Iterable[bytes]) -> dict[bytes, int]:
    """Index of each member of U1: its position, from 1, in the order of the fingerprints."""
    return {device: index for index, device in enumerate(sorted(devices), start=1)}


class Directory:
    """Everybody's keys under one root, and the graph that follows from them.

    Args:
        binding: of the round.
        members: accepted advertisements by device fingerprint.
        threat: what the graph is solved for.
        parameters: the graph; :func:`.parameters.choose` picks it by default.

    Raises:
        ProtocolError: too few or too many participants, bad keys, or a key that two devices advertised.
    """

    def __init__(
        self,
        binding: RoundBinding,
        members: Mapping[bytes, Advertised],
        threat: ThreatModel,
        parameters: GraphParameters | None = None,
    ) -> None:
        parameters = parameters or choose(len(members), threat)
        in_order = [members[device] for device in indices_of(members)]
        if any(fingerprint(member.device_key) not in members for member in in_order):
            raise ProtocolError(Reason.BAD_INDEX, "a member is listed under another device's fingerprint")
        keys = [key for member in in_order for key in (member.keys.cipher_key, member.keys.mask_key)]
        if len(set(keys)) != len(keys):
            raise ProtocolError(Reason.DUPLICATE_KEY, "two devices advertised the same key")
        self._tree = MerkleTree([derivation.key_leaf(member.device_key, member.keys) for member in in_order])
        self._entries = [
            RosterEntry(index, member.keys.cipher_key, member.keys.mask_key, member.signature, member.certificate)
            for index, member in enumerate(in_order, start=1)
        ]
        self.context = RunContext(binding, parameters, self._tree.root)

    def roster(self, index: int) -> Roster:
        """What the device with this index gets: its neighbours, and proof that they and it are under the root."""
        parameters = self.context.parameters
        around = sorted(self.context.graph.neighbours(index))
        return Roster(
            participants=parameters.n,
            neighbours=parameters.neighbours,
            threshold=parameters.threshold,
            index=index,
            root=self.context.root,
            entries=tuple(self._entries[peer - 1] for peer in around),
            proof=self._tree.proof([index - 1, *(peer - 1 for peer in around)]),
        )

    def survivors(self, index: int, alive: Collection[int], smallest_aggregate: int) -> Survivors:
        """What the device with this index gets of U3, with witnesses where its neighbours are too few."""
        members = frozenset(alive)
        near = members.intersection(self.context.graph.neighbours(index))
        lacking = smallest_aggregate - 1 - len(near)
        further = sorted(members - near - {index})[: max(lacking, 0)]
        return Survivors(
            members=pack_set((member - 1 for member in members), self.context.parameters.n),
            witnesses=tuple(self._entries[peer - 1] for peer in further),
            proof=self._tree.proof([peer - 1 for peer in further]),
        )
