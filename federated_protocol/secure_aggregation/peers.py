"""What a device checks of its peers before it lets them help: who they are, what they said, and that all saw the same.

A peer counts when an authority key in force certified its identity key, when that key signed the peer's advertisement
for exactly this round (so for this plan and model), and when the advertisement is under the root that everything else
is bound to. Nothing here has state or gives anything out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from federated_protocol import wire
from federated_protocol.enrolment import Certificate
from federated_protocol.errors import BadSignature, EnrolmentError, ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import (
    Confirmation,
    Confirmations,
    KeyAdvertisement,
    Phase,
    Roster,
    RosterEntry,
    Survivors,
)
from federated_protocol.plan import ThreatModel
from federated_protocol.secure_aggregation import derivation
from federated_protocol.secure_aggregation.bitmap import unpack_set
from federated_protocol.secure_aggregation.derivation import RoundBinding, RunContext
from federated_protocol.secure_aggregation.merkle import HASH_BYTES, root_from
from federated_protocol.secure_aggregation.parameters import GraphParameters, check_admissible, smallest_survival
from federated_protocol.signing import SIGNATURE_BYTES, check_signature, fingerprint, signed_bytes

Vouch = Callable[[bytes], Certificate]
"""Opens a certificate that counts now, or raises an :class:`~federated_protocol.errors.EnrolmentError`."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified member of U1."""

    index: int
    device_key: bytes
    keys: KeyAdvertisement


@dataclass(frozen=True, slots=True)
class JoinRules:
    """What a device pins about the sums it joins."""

    floor: int
    """Smallest aggregate."""
    threat: ThreatModel
    """(k, t) must protect at least against this."""
    largest_cohort: int


def check_roster(
    roster: Roster,
    binding: RoundBinding,
    own_key: bytes,
    own_keys: KeyAdvertisement,
    rules: JoinRules,
    vouch: Vouch,
) -> tuple[RunContext, dict[int, Peer]]:
    """Verify the answer to a key advertisement.

    Args:
        roster: what the coordinator answered.
        binding: the round this device agreed to.
        own_key: this device's Ed25519 public key.
        own_keys: what it advertised.
        rules: pinned on this device.
        vouch: for the peers' certificates.

    Returns:
        The run and the neighbours by index.

    Raises:
        ProtocolError: with the first thing that is wrong.
    """
    n = roster.participants
    if n < rules.floor:
        raise ProtocolError(Reason.BELOW_FLOOR, f"{n} participants, this device joins {rules.floor} or more")
    if n > rules.largest_cohort:
        raise ProtocolError(Reason.ABOVE_LARGEST_COHORT, f"{n} participants, at most {rules.largest_cohort} fit")
    parameters = GraphParameters(n, roster.neighbours, roster.threshold)
    check_admissible(parameters, rules.threat)
    if not 1 <= roster.index <= n or len(roster.root) != HASH_BYTES:
        raise ProtocolError(Reason.BAD_INDEX, "this device's index, or the root, is out of range")
    context = RunContext(binding, parameters, roster.root)
    own = Peer(roster.index, own_key, own_keys)
    expected = sorted(context.graph.neighbours(own.index))
    if [entry.index for entry in roster.entries] != expected:
        raise ProtocolError(Reason.BAD_NEIGHBOURS, "the entries are not those of this device's neighbours, in order")
    _check_keys([own_keys, *(_advertised(entry) for entry in roster.entries)])
    peers = _verified(roster.entries, binding, vouch)
    _check_order([own, *peers])
    _check_under_root([own, *peers], context, roster.proof)
    return context, {peer.index: peer for peer in peers}


def check_survivors(
    survivors: Survivors,
    context: RunContext,
    own: Peer,
    sharers: Collection[int],
    neighbours: Mapping[int, Peer],
    rules: JoinRules,
    vouch: Vouch,
) -> frozenset[int]:
    """Verify U3 as far as this device can see, and that enough of it is certified.

    Args:
        survivors: what the coordinator answered to the masked input.
        context: of the run.
        own: this device.
        sharers: the members of U2 this device knows: neighbours that sent it shares, and itself.
        neighbours: all its neighbours by index; they were verified with the roster.
        rules: pinned on this device.
        vouch: for the witnesses' certificates.

    Returns:
        U3, as indices.

    Raises:
        ProtocolError: with the first thing that is wrong.
    """
    n, t = context.parameters.n, context.parameters.threshold
    alive = frozenset(place + 1 for place in unpack_set(survivors.members, n))
    if own.index not in alive:
        raise ProtocolError(Reason.OWN_ENTRY_MISSING, "this device's input is not among the survivors")
    around = frozenset(neighbours)
    if not alive & around <= frozenset(sharers):
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "a survivor never shared its secrets")
    if len(alive) < rules.floor:
        raise ProtocolError(Reason.BELOW_FLOOR, f"{len(alive)} inputs arrived, this device needs {rules.floor}")
    near = alive & around
    if len(near) + context.parameters.complete < t:
        raise ProtocolError(Reason.BELOW_THRESHOLD, f"{len(near)} neighbours' inputs arrived, {t} are needed")
    if len(alive) < smallest_survival(context.parameters, rules.threat):
        raise ProtocolError(Reason.TOO_MANY_DROPPED, f"{len(alive)} of {n} are left, the graph was solved for more")
    indices = [entry.index for entry in survivors.witnesses]
    if indices != sorted(set(indices)) or not set(indices) <= alive - around - {own.index}:
        raise ProtocolError(Reason.BAD_INDEX, "the witnesses are not further survivors, in order")
    if 1 + len(near) + len(indices) < rules.floor:
        raise ProtocolError(
            Reason.UNCERTIFIED_PEER, f"fewer than {rules.floor} survivors showed that they are enrolled devices"
        )
    if indices:
        witnesses = _verified(survivors.witnesses, context.binding, vouch)
        # Together with those who are known already: nobody may stand for two.
        _check_keys(peer.keys for peer in (own, *neighbours.values(), *witnesses))
        _check_order((own, *neighbours.values(), *witnesses))
        _check_under_root(witnesses, context, survivors.proof)
    elif survivors.proof:
        raise ProtocolError(Reason.BAD_PROOF, "a proof without witnesses")
    return alive


def check_confirmations(
    confirmations: Confirmations,
    context: RunContext,
    digest: bytes,
    neighbours: tuple[int, ...],
    peers: dict[int, Peer],
    alive: frozenset[int],
) -> None:
    """Verify that t of this device's own neighbours were shown the same survivors.

    On the complete graph this device counts as one of the t.

    Raises:
        ProtocolError: too few, not survivors, or a signature that is not over ``digest``.
    """
    slots = unpack_set(confirmations.signers, len(neighbours))
    signers = [neighbours[slot] for slot in slots]
    if len(confirmations.signatures) != SIGNATURE_BYTES * len(signers):
        raise ProtocolError(Reason.BAD_CONFIRMATION, "a confirmation has 64 bytes")
    if not alive.issuperset(signers):
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "a device confirmed whose input did not arrive")
    needed = context.parameters.threshold
    if len(signers) + context.parameters.complete < needed:
        raise ProtocolError(Reason.BELOW_THRESHOLD, f"{len(signers)} neighbours confirmed, {needed} are needed")
    signed = signed_bytes(Phase.CONFIRM, context.binding.session, wire.encode(Confirmation(digest)), context.digest)
    for at, signer in enumerate(signers):
        signature = confirmations.signatures[SIGNATURE_BYTES * at : SIGNATURE_BYTES * (at + 1)]
        try:
            check_signature(signature, signed, peers[signer].device_key)
        except BadSignature:
            raise ProtocolError(
                Reason.BAD_CONFIRMATION, "a neighbour did not sign the survivors that this device was shown"
            ) from None


def _advertised(entry: RosterEntry) -> KeyAdvertisement:
    return KeyAdvertisement(cipher_key=entry.cipher_key, mask_key=entry.mask_key)


def _check_keys(advertised: Iterable[KeyAdvertisement]) -> None:
    keys = [key for message in advertised for key in (message.cipher_key, message.mask_key)]
    if any(len(key) != derivation.PUBLIC_KEY_BYTES for key in keys):
        raise ProtocolError(Reason.BAD_KEY, "a public key of the roster has the wrong length")
    if len(set(keys)) != len(keys):
        raise ProtocolError(Reason.DUPLICATE_KEY, "two public keys of the roster are equal")


def _verified(entries: Iterable[RosterEntry], binding: RoundBinding, vouch: Vouch) -> list[Peer]:
    peers: list[Peer] = []
    for entry in entries:
        try:
            certificate = vouch(entry.certificate)
        except EnrolmentError:
            raise ProtocolError(
                Reason.UNCERTIFIED_PEER, "a peer has no enrolment certificate that counts; sit this round out"
            ) from None
        keys = _advertised(entry)
        signed = signed_bytes(Phase.ADVERTISE, binding.session, wire.encode(keys), binding.digest)
        try:
            check_signature(entry.signature, signed, certificate.device_key)
        except BadSignature:
            raise ProtocolError(
                Reason.BAD_SIGNATURE, "a peer did not sign these keys for this round, plan and model"
            ) from None
        peers.append(Peer(entry.index, certificate.device_key, keys))
    return peers


def _check_order(members: Iterable[Peer]) -> None:
    names = [fingerprint(peer.device_key) for peer in sorted(members, key=lambda peer: peer.index)]
    if any(one >= other for one, other in itertools.pairwise(names)):
        raise ProtocolError(Reason.BAD_INDEX, "the indices do not follow the order of the fingerprints")


def _check_under_root(members: Iterable[Peer], context: RunContext, proof: bytes) -> None:
    leaves = {peer.index - 1: derivation.key_leaf(peer.device_key, peer.keys) for peer in members}
    if root_from(leaves, context.parameters.n, proof) != context.root:
        raise ProtocolError(
            Reason.BAD_PROOF, "the keys of this device or of a peer are not under the root of all advertised keys"
        )
