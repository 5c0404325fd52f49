"""The coordinator's side of secure aggregation: pure functions over stored messages, no state between calls.

    U1 advertised -> build_roster -> U2 shared -> route -> U3 sent inputs -> MaskedSum -> U5 revealed -> unmask

The ``check_*`` functions judge one message as it arrives, before it is stored; :func:`unmask` trusts nothing either.
Inputs are streamed: the sum holds one vector whatever the number of devices, and opening holds two numbers a device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.errors import MalformedMessage, ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import (
    EncryptedShares,
    KeyAdvertisement,
    Mailbox,
    MaskedInput,
    MaskKeyShare,
    Roster,
    RosterEntry,
    SelfMaskShare,
    Unmasking,
)
from federated_protocol.secure_aggregation import derivation, shamir, share_box
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.secure_aggregation.parameters import threshold_for
from federated_protocol.vector_layout import Vector, VectorLayout, unpack

_MASKS_PER_JOB = 64
_JOBS_IN_FLIGHT = 16
_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))  # no secret: any scalar tells points of small order


# -- step 0: keys ------------------------------------------------------------------------------------------------


def check_advertisement(message: KeyAdvertisement) -> None:
    """Raise :class:`ProtocolError` unless this is two different keys that peers can agree with.

    Points of small order are caught here, at one device, and not later at all of its peers.
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


def build_roster(advertisements: Mapping[bytes, KeyAdvertisement]) -> Roster:
    """The roster of U1, with its threshold.

    Args:
        advertisements: accepted advertisements by device fingerprint.

    Raises:
        ProtocolError: too few or too many participants, bad keys, or a key that two devices advertised.
    """
    threshold = threshold_for(len(advertisements))
    seen: set[bytes] = set()
    entries = []
    for device, index in indices_of(advertisements).items():
        message = advertisements[device]
        check_advertisement(message)
        if message.cipher_key in seen or message.mask_key in seen:
            raise ProtocolError(Reason.DUPLICATE_KEY, "two devices advertised the same key")
        seen |= {message.cipher_key, message.mask_key}
        entries.append(RosterEntry(index=index, cipher_key=message.cipher_key, mask_key=message.mask_key))
    return Roster(entries=tuple(entries), threshold=threshold)


# -- step 1: shares ----------------------------------------------------------------------------------------------


def check_shares(message: EncryptedShares, sender: int, n: int) -> None:
    """Raise :class:`ProtocolError` unless ``sender`` addressed exactly the other n - 1 participants, in full size."""
    if not 1 <= sender <= n:
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "the sender is not in the roster")
    if message.ciphertexts.keys() != set(range(1, n + 1)) - {sender}:
        raise ProtocolError(Reason.BAD_INDEX, "shares must be addressed to every other participant")
    if any(len(ciphertext) != share_box.CIPHERTEXT_BYTES for ciphertext in message.ciphertexts.values()):
        raise ProtocolError(Reason.BAD_CIPHERTEXT, f"an encrypted pair has {share_box.CIPHERTEXT_BYTES} bytes")


def route(shared: Mapping[int, EncryptedShares] | Iterable[tuple[int, EncryptedShares]]) -> dict[int, Mailbox]:
    """Sort all ciphertexts by recipient.

    Args:
        shared: what each member of U2 sent, by index; checked with :func:`check_shares` before.

    Returns:
        The mailbox of each member of U2; ciphertexts for those who dropped out go nowhere.
    """
    messages = shared.items() if isinstance(shared, Mapping) else shared
    boxes: dict[int, dict[int, bytes]] = {}
    members: set[int] = set()
    for sender, message in messages:
        members.add(sender)
        for recipient, ciphertext in message.ciphertexts.items():
            boxes.setdefault(recipient, {})[sender] = ciphertext
    return {member: Mailbox(ciphertexts=boxes.get(member, {})) for member in sorted(members)}


# -- step 2: masked inputs ---------------------------------------------------------------------------------------


def check_masked_input(message: MaskedInput, layout: VectorLayout) -> None:
    """Raise :class:`ProtocolError` unless the packed vector has the plan's size and clean padding."""
    try:
        unpack(message.packed, layout)
    except MalformedMessage as error:
        raise ProtocolError(Reason.BAD_VECTOR, str(error)) from None


class MaskedSum:
    """Running sum of masked inputs modulo each field's 2^bits; one vector, however many inputs."""

    def __init__(self, layout: VectorLayout) -> None:
        self.layout = layout
        self._sum: Vector = np.zeros(layout.length, dtype=np.uint32)
        self._members: set[int] = set()

    @property
    def members(self) -> frozenset[int]:
        """Indices whose inputs are in the sum."""
        return frozenset(self._members)

    def add(self, index: int, message: MaskedInput) -> None:
        """Add one participant's input.

        Raises:
            ProtocolError: its input is in the sum already, or does not fit the layout.
        """
        if index in self._members:
            raise ProtocolError(Reason.BAD_INDEX, "this participant's input is in the sum already")
        try:
            self._sum += unpack(message.packed, self.layout)
        except MalformedMessage as error:
            raise ProtocolError(Reason.BAD_VECTOR, str(error)) from None
        self._members.add(index)

    def merge(self, other: MaskedSum) -> None:
        """Add a sum that was made elsewhere over other participants."""
        if other.layout != self.layout or other._members & self._members:
            raise ProtocolError(Reason.BAD_INDEX, "sums of different layouts, or with a participant in common")
        self._sum += other._sum
        self._members |= other._members

    def vector(self) -> Vector:
        """A reduced copy of the sum, uint32 [layout.length]; uniformly random until it is unmasked."""
        vector = self._sum.copy()
        self.layout.reduce(vector)
        return vector


# -- step 4: unmasking -------------------------------------------------------------------------------------------


def check_unmasking(message: Unmasking, sender: int, u2: Collection[int], u3: Collection[int]) -> None:
    """Raise :class:`ProtocolError` unless ``sender`` revealed exactly the share that is due of each member of U2."""
    alive = frozenset(u3)
    if sender not in alive:
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "only those whose input arrived may unmask")
    if message.reveals.keys() != frozenset(u2):
        raise ProtocolError(Reason.BAD_SHARE, "one share is due of every participant that shared, and no other")
    for owner, reveal in message.reveals.items():
        if not isinstance(reveal, SelfMaskShare if owner in alive else MaskKeyShare):
            raise ProtocolError(Reason.BAD_SHARE, "a revealed share is of the wrong kind")
        shamir.share_value(reveal.share)


@dataclass(frozen=True, slots=True)
class SelfMaskJob:
    """Expand and add up the self-masks of some survivors."""

    context: bytes
    length: int
    seeds: tuple[tuple[int, bytes], ...]
    """(index, seed)"""

    def add_to(self, vector: Vector) -> None:
        """Add the masks to ``vector``."""
        masks = MaskGenerator(self.length)
        for index, seed in self.seeds:
            masks.add(vector, derivation.self_mask_key(seed, self.context, index))


@dataclass(frozen=True, slots=True)
class PairMaskJob:
    """Expand and add up the masks that some survivors share with one missing participant."""

    context: bytes
    length: int
    missing: int
    private_key: bytes
    survivors: tuple[tuple[int, bytes], ...]
    """(index, public masking key)"""

    def add_to(self, vector: Vector) -> None:
        """Add the masks to ``vector``, with the sign they have in the survivors' inputs."""
        masks = MaskGenerator(self.length)
        private_key = X25519PrivateKey.from_private_bytes(self.private_key)
        for index, public_key in self.survivors:
            agreement = derivation.agree(private_key, public_key)
            key = derivation.pair_mask_key(agreement, self.context, index, self.missing)
            masks.add_pair(vector, key, index, self.missing)


def run_job(job: SelfMaskJob | PairMaskJob) -> Vector:
    """The sum of a job's masks; importable and picklable, so that it runs on any executor."""
    vector: Vector = np.zeros(job.length, dtype=np.uint32)
    job.add_to(vector)
    return vector


def unmask(
    session: str,
    plan_digest: bytes,
    layout: VectorLayout,
    roster: Roster,
    u2: Collection[int],
    u3: Collection[int],
    masked_sum: MaskedSum,
    unmaskings: Mapping[int, Unmasking],
    threshold: int,
    executor: Executor | None = None,
) -> Vector:
    """Open the sum of U3's vectors.

    Args:
        session: session id.
        plan_digest: digest of the plan all devices were given.
        layout: fields of the vector.
        roster: U1, as it was sent out.
        u2: indices that shared.
        u3: indices whose masked input arrived.
        masked_sum: the sum of exactly U3's masked inputs; it is not changed.
        unmaskings: what the members of U5 ⊆ U3 revealed, by index; iterated once, so it may load lazily.
        threshold: t, as in the roster.
        executor: expands masks in parallel; in this thread when None.

    Returns:
        uint32 [layout.length], exactly Σ of the survivors' vectors modulo each field's 2^bits.

    Raises:
        ProtocolError: sets that do not nest, fewer than t survivors or unmaskings, or shares that are missing,
            malformed or contradict the roster or each other. Nothing is opened then.
    """
    sharers, alive = frozenset(u2), frozenset(u3)
    entries = {entry.index: entry for entry in roster.entries}
    if threshold != roster.threshold or threshold != threshold_for(len(entries)):
        raise ProtocolError(Reason.BAD_THRESHOLD, "the threshold is not the roster's")
    if not (alive <= sharers <= entries.keys() and frozenset(unmaskings) <= alive):
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "the sets of participants do not nest")
    if min(len(alive), len(unmaskings)) < threshold:
        raise ProtocolError(
            Reason.BELOW_THRESHOLD,
            f"{len(alive)} inputs and {len(unmaskings)} unmaskings, {threshold} are needed; abandon the round",
        )
    if masked_sum.members != alive or masked_sum.layout != layout:
        raise ProtocolError(Reason.BAD_VECTOR, "the masked sum is not that of the survivors' inputs")

    owners = sorted(sharers)
    secrets = dict(zip(owners, _open_secrets(owners, alive, sharers, unmaskings, threshold), strict=True))
    for owner in owners:
        if owner not in alive:
            public_key = X25519PrivateKey.from_private_bytes(secrets[owner]).public_key().public_bytes_raw()
            if public_key != entries[owner].mask_key:
                raise ProtocolError(Reason.BAD_SHARE, "a missing participant's key does not fit the roster")

    context = derivation.session_context(session, plan_digest, roster)
    masks: Vector = np.zeros(layout.length, dtype=np.uint32)
    _add_all(_jobs(context, layout.length, entries, owners, alive, secrets), masks, executor)
    vector = masked_sum.vector()
    vector -= masks
    layout.reduce(vector)
    return vector


def _open_secrets(
    owners: list[int],
    alive: frozenset[int],
    sharers: frozenset[int],
    unmaskings: Mapping[int, Unmasking],
    threshold: int,
) -> list[bytes]:
    opening = shamir.Opening(sorted(unmaskings), threshold, len(owners))
    for participant, message in unmaskings.items():
        check_unmasking(message, participant, sharers, alive)
        opening.add(participant, [message.reveals[owner].share for owner in owners])
    return opening.secrets()


def _jobs(
    context: bytes,
    length: int,
    entries: dict[int, RosterEntry],
    owners: list[int],
    alive: frozenset[int],
    secrets: dict[int, bytes],
) -> Iterator[SelfMaskJob | PairMaskJob]:
    survivors = sorted(alive)
    batches = [survivors[at : at + _MASKS_PER_JOB] for at in range(0, len(survivors), _MASKS_PER_JOB)]
    for some in batches:
        yield SelfMaskJob(context, length, tuple((u, secrets[u]) for u in some))
    for missing in (owner for owner in owners if owner not in alive):
        for some in batches:
            peers = tuple((u, entries[u].mask_key) for u in some)
            yield PairMaskJob(context, length, missing, secrets[missing], peers)


def _add_all(jobs: Iterable[SelfMaskJob | PairMaskJob], masks: Vector, executor: Executor | None) -> None:
    if executor is None:
        for job in jobs:
            job.add_to(masks)
        return
    pending: deque[Future[Vector]] = deque()
    for job in jobs:
        pending.append(executor.submit(run_job, job))
        if len(pending) >= _JOBS_IN_FLIGHT:
            masks += pending.popleft().result()
    for future in pending:
        masks += future.result()
