"""The coordinator's side of secure aggregation: pure functions over stored messages, no state between calls.

    U1 advertised -> Directory -> U2 shared -> route -> U3 sent inputs -> MaskedSum -> U4 confirmed -> confirmations
    -> U5 revealed -> unmask

The ``check_*`` functions judge one message as it arrives, before it is stored; :func:`unmask` trusts nothing either.
Inputs are streamed: the sum holds one vector whatever the number of devices, and opening holds the messages of one
stretch of the ring, as long as a device has neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Protocol

import numpy as np

from federated_protocol.errors import MalformedMessage, ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import (
    Confirmation,
    Confirmations,
    EncryptedShares,
    Mailbox,
    MaskedInput,
    Unmasking,
)
from federated_protocol.secure_aggregation import derivation, shamir, share_box
from federated_protocol.secure_aggregation.bitmap import pack_set, unpack_set
from federated_protocol.secure_aggregation.derivation import RunContext
from federated_protocol.secure_aggregation.graph import Graph
from federated_protocol.secure_aggregation.unmasking import Owner, add_all, in_jobs
from federated_protocol.vector_layout import Vector, VectorLayout, unpack

# -- step 1: shares ----------------------------------------------------------------------------------------------


def check_shares(message: EncryptedShares, context: RunContext) -> None:
    """Raise :class:`ProtocolError` unless there is one box for each neighbour, and a commitment."""
    if len(message.seed_commitment) != derivation.DIGEST_BYTES:
        raise ProtocolError(Reason.BAD_CIPHERTEXT, f"a commitment has {derivation.DIGEST_BYTES} bytes")
    if len(message.ciphertexts) != share_box.CIPHERTEXT_BYTES * context.parameters.neighbours:
        raise ProtocolError(
            Reason.BAD_CIPHERTEXT, f"each neighbour gets one encrypted pair of {share_box.CIPHERTEXT_BYTES} bytes"
        )


def route(shared: Iterable[tuple[int, EncryptedShares]], graph: Graph) -> Iterator[tuple[int, Mailbox]]:
    """Sort all ciphertexts by recipient.

    Args:
        shared: what each member of U2 sent, by index; checked with :func:`check_shares` before.
        graph: who is whose neighbour.

    Returns:
        The mailbox of each member of U2; ciphertexts for those who dropped out go nowhere.
    """
    size = share_box.CIPHERTEXT_BYTES
    sent = {sender: message.ciphertexts for sender, message in shared}
    for member in sorted(sent):
        around = graph.neighbours(member)
        slots = [slot for slot, peer in enumerate(around) if peer in sent]
        pieces = []
        for slot in slots:
            at = size * graph.slot(around[slot], member)
            pieces.append(sent[around[slot]][at : at + size])
        yield member, Mailbox(senders=pack_set(slots, len(around)), ciphertexts=b"".join(pieces))


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

    def without(self, masks: Vector) -> Vector:
        """The sum less ``masks``, reduced; uint32 [layout.length]."""
        vector = self._sum - masks
        self.layout.reduce(vector)
        return vector


# -- step 3: confirmations ---------------------------------------------------------------------------------------


def check_confirmation(message: Confirmation, context: RunContext, survivors: Collection[int]) -> None:
    """Raise :class:`ProtocolError` unless the device confirms exactly the survivors it was shown."""
    members = pack_set((index - 1 for index in survivors), context.parameters.n)
    if message.digest != derivation.confirmation_digest(context.digest, members):
        raise ProtocolError(Reason.BAD_CONFIRMATION, "the confirmation is not over the survivors of this round")


def confirmations(index: int, signatures: Mapping[int, bytes], context: RunContext) -> Confirmations:
    """For one device, the signatures of t of its neighbours (all there are, if fewer).

    Args:
        index: the device's.
        signatures: of the confirmations' envelopes, 64 bytes, by index of U4.
        context: of the run.
    """
    around = context.graph.neighbours(index)
    needed = context.parameters.threshold - context.parameters.complete
    slots = [slot for slot, peer in enumerate(around) if peer in signatures][:needed]
    return Confirmations(
        signers=pack_set(slots, len(around)), signatures=b"".join(signatures[around[slot]] for slot in slots)
    )


# -- step 4: unmasking -------------------------------------------------------------------------------------------


def owners_of(holder: int, graph: Graph, u2: Collection[int]) -> list[int]:
    """Whose shares ``holder`` has to reveal, in the order of the slots of its :class:`Unmasking`."""
    return [owner for owner in graph.holders(holder) if owner in u2]


def check_unmasking(message: Unmasking, sender: int, graph: Graph, u2: Collection[int], u3: Collection[int]) -> None:
    """Raise :class:`ProtocolError` unless ``sender`` revealed exactly the share that is due of each owner."""
    alive = frozenset(u3)
    if sender not in alive:
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "only those whose input arrived may unmask")
    owners = owners_of(sender, graph, frozenset(u2))
    if len(message.shares) != shamir.SHARE_BYTES * len(owners):
        raise ProtocolError(Reason.BAD_SHARE, "one share is due of every neighbour that shared, and no other")
    missing = {slot for slot, owner in enumerate(owners) if owner not in alive}
    if set(unpack_set(message.missing, len(owners))) != missing:
        raise ProtocolError(Reason.BAD_SHARE, "a revealed share is of the wrong kind")


class Commitments(Protocol):
    """What opened secrets are checked against, by index."""

    def mask_key(self, index: int) -> bytes:
        """Public masking key a member of U1 advertised."""
        ...

    def seed_commitment(self, index: int) -> bytes:
        """Commitment a member of U2 sent with its shares."""
        ...


def unmask(
    context: RunContext,
    commitments: Commitments,
    u2: Collection[int],
    u3: Collection[int],
    masked_sum: MaskedSum,
    unmaskings: Mapping[int, Unmasking],
    executor: Executor | None = None,
) -> Vector:
    """Open the sum of U3's vectors: :func:`sum_of_masks`, taken from ``masked_sum``.

    Returns:
        uint32 [layout.length], exactly Σ of the survivors' vectors modulo each field's 2^bits.

    Raises:
        ProtocolError: as :func:`sum_of_masks`, or the masked sum is not that of exactly U3's inputs.
    """
    length = masked_sum.layout.length
    masks = sum_of_masks(context, commitments, u2, u3, unmaskings, length, executor)
    if masked_sum.members != frozenset(u3):
        raise ProtocolError(Reason.BAD_VECTOR, "the masked sum is not that of the survivors' inputs")
    return masked_sum.without(masks)


def sum_of_masks(
    context: RunContext,
    commitments: Commitments,
    u2: Collection[int],
    u3: Collection[int],
    unmaskings: Mapping[int, Unmasking],
    length: int,
    executor: Executor | None = None,
) -> Vector:
    """Recover everybody's secret and add up the masks that are left in the sum of U3's inputs.

    Args:
        context: of the run.
        commitments: what U1 and U2 said beforehand.
        u2: indices that shared.
        u3: indices whose masked input arrived.
        unmaskings: what the members of U5 ⊆ U3 revealed, by index; may load lazily: they are
            asked for along the ring, and kept only as long as a neighbour is to come.
        length: elements of the vectors.
        executor: runs the jobs, for example in several processes; in this thread when None.

    Returns:
        uint32 [length], not reduced.

    Raises:
        ProtocolError: sets that do not nest, an owner with fewer than t holders left, shares that do not open what
            their owner committed to.
    """
    sharers, alive, revealers = frozenset(u2), frozenset(u3), frozenset(unmaskings)
    if not (alive <= sharers <= set(range(1, context.parameters.n + 1)) and revealers <= alive):
        raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "the sets of participants do not nest")
    threshold = context.parameters.threshold
    if len(revealers) < threshold or not context.graph.reaches_threshold(sharers, revealers):
        raise ProtocolError(
            Reason.BELOW_THRESHOLD,
            f"{len(alive)} inputs and {len(revealers)} unmaskings, too few around somebody; abandon the round",
        )
    masks: Vector = np.zeros(length, dtype=np.uint32)
    owners = _owners(context, commitments, sharers, alive, unmaskings)
    add_all(in_jobs(owners, context.digest, length, threshold), masks, executor)
    return masks


def _owners(
    context: RunContext,
    commitments: Commitments,
    sharers: frozenset[int],
    alive: frozenset[int],
    unmaskings: Mapping[int, Unmasking],
) -> Iterator[Owner]:
    """Every member of U2 with the shares revealed of its secret, along the ring."""
    graph, size = context.graph, shamir.SHARE_BYTES
    window = _Window(context, sharers, alive, unmaskings)
    for owner in graph.ring:
        if owner not in sharers:
            continue
        xs: list[int] = []
        shares: list[bytes] = []
        holders = graph.holders(owner)
        for x, holder in enumerate(holders, start=1):
            revealed = window.of(holder)
            if revealed is not None:
                at = size * revealed[0][owner]
                xs.append(x)
                shares.append(revealed[1][at : at + size])
        around: tuple[int, ...] = ()
        if owner in alive:
            check = commitments.seed_commitment(owner)
        else:
            check = commitments.mask_key(owner)
            around = tuple(peer for peer in holders if peer in alive)
        yield Owner(
            index=owner,
            xs=tuple(xs),
            shares=b"".join(shares),
            check=check,
            missing=owner not in alive,
            survivors=around,
            survivor_keys=b"".join(commitments.mask_key(peer) for peer in around),
        )


class _Window:
    """Unmaskings near the owner at hand: the slots by owner, and the shares."""

    def __init__(
        self, context: RunContext, sharers: frozenset[int], alive: frozenset[int], unmaskings: Mapping[int, Unmasking]
    ) -> None:
        self._graph = context.graph
        self._sharers, self._alive = sharers, alive
        self._unmaskings = unmaskings
        self._revealers = frozenset(unmaskings)
        # The ring is closed: the stretch before the first owner is needed again at the end.
        self._most = 2 * self._graph.holders_count + 2
        self._kept: dict[int, tuple[dict[int, int], bytes]] = {}

    def of(self, holder: int) -> tuple[dict[int, int], bytes] | None:
        """What ``holder`` revealed; None if it is not in U5."""
        if holder not in self._revealers:
            return None
        found = self._kept.get(holder)
        if found is None:
            message = self._unmaskings[holder]
            check_unmasking(message, holder, self._graph, self._sharers, self._alive)
            slots = {owner: slot for slot, owner in enumerate(owners_of(holder, self._graph, self._sharers))}
            found = self._kept[holder] = (slots, message.shares)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return found
