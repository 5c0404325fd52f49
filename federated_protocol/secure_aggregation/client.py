"""A device's side of secure aggregation (eprint 2017/281 and 2020/704, active adversary), sans-I/O.

Theory of operation. One :class:`AggregationClient` serves one session. Each step takes the coordinator's answer to the
step before and returns the message to send; the caller signs it over :attr:`AggregationClient.binding`, sends and
repeats it. What a device may do when:

    state        call            -> state        what leaves the device
    -----------  --------------  --------------  --------------------------------------------------------------
    NEW          advertise()     ADVERTISED      two public keys
    ADVERTISED   share()         SHARED          shares of its two secrets, one pair a neighbour, encrypted to it
    SHARED       masked_input()  MASKED          its vector under one mask a neighbour and one of its own; once
    MASKED       confirm()       CONFIRMED       a digest of the survivors it was shown
    CONFIRMED    unmask()        DONE            of each neighbour one share: of the self-mask if its input arrived,
                                                 else of the masking key; only after t neighbours confirmed the same
    any          forget()        ABORTED         nothing

Anything else, and any value that an honest coordinator would not send, raises a
:class:`~federated_protocol.errors.ProtocolError` with a named reason and leads to ABORTED, from where no call gives
anything out; the secrets are dropped on the way there, and on the way to DONE. They are never serialised. (Python
cannot promise that the memory they were in is overwritten: dropping the references is all that can be done here.)
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.errors import CodecError, ProtocolError
from federated_protocol.errors import ProtocolErrorReason as Reason
from federated_protocol.messages import (
    Confirmation,
    Confirmations,
    EncryptedShares,
    KeyAdvertisement,
    Mailbox,
    MaskedInput,
    Roster,
    Survivors,
    Unmasking,
)
from federated_protocol.plan import ThreatModel
from federated_protocol.randomness import ByteSource
from federated_protocol.secure_aggregation import derivation, shamir, share_box
from federated_protocol.secure_aggregation.bitmap import pack_set, unpack_set
from federated_protocol.secure_aggregation.derivation import RoundBinding, RunContext
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.secure_aggregation.parameters import LARGEST_COHORT, SMALLEST_COHORT, GraphParameters
from federated_protocol.secure_aggregation.peers import (
    JoinRules,
    Peer,
    Vouch,
    check_confirmations,
    check_roster,
    check_survivors,
)
from federated_protocol.vector_layout import Vector, VectorLayout, pack


class ClientState(enum.Enum):
    """Where a device stands in the protocol."""

    NEW = "new"
    ADVERTISED = "advertised"
    SHARED = "shared"
    MASKED = "masked"
    CONFIRMED = "confirmed"
    DONE = "done"
    ABORTED = "aborted"


class ClientStep(enum.Enum):
    """What a device can be asked to do."""

    ADVERTISE = "advertise"
    SHARE = "share"
    MASKED_INPUT = "masked_input"
    CONFIRM = "confirm"
    UNMASK = "unmask"


TRANSITIONS: dict[tuple[ClientState, ClientStep], ClientState] = {
    (ClientState.NEW, ClientStep.ADVERTISE): ClientState.ADVERTISED,
    (ClientState.ADVERTISED, ClientStep.SHARE): ClientState.SHARED,
    (ClientState.SHARED, ClientStep.MASKED_INPUT): ClientState.MASKED,
    (ClientState.MASKED, ClientStep.CONFIRM): ClientState.CONFIRMED,
    (ClientState.CONFIRMED, ClientStep.UNMASK): ClientState.DONE,
}
"""The only legal steps; diagrams in the documentation are drawn from this table, see :func:`state_diagram`."""


def state_diagram() -> str:
    """The transition table as a Mermaid state diagram."""
    legal = [f"    {before.value} --> {after.value}: {step.value}" for (before, step), after in TRANSITIONS.items()]
    ends = [f"    {before.value} --> aborted: anything else" for before, _ in TRANSITIONS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {ClientState.NEW.value}", *legal, *ends]) + "\n"


@dataclass(repr=False)
class _Secrets:
    """Everything that must not outlive the session; never printed, copied or serialised."""

    cipher_key: X25519PrivateKey
    mask_key: X25519PrivateKey
    self_mask_seed: bytes
    box_agreements: dict[int, bytes] = field(default_factory=dict)
    """X25519 agreement of the cipher keys, by peer."""
    held_shares: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """(masking-key share, self-mask share) by owner: of each neighbour in U2; on the complete graph its own too."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets of a session are not serialised")


class AggregationClient:
    """One device in one session. See the module's text for the order of calls."""

    def __init__(
        self,
        binding: RoundBinding,
        layout: VectorLayout,
        *,
        device_key: bytes,
        vouch: Vouch,
        floor: int,
        threat: ThreatModel = ThreatModel(),  # noqa: B008 - immutable
        rng: ByteSource = os.urandom,
        largest_cohort: int = LARGEST_COHORT,
    ) -> None:
        """
        Args:
            binding: :meth:`RoundBinding.of` the plan this device agreed to; every key and signature covers it.
            layout: fields of the vector to be summed.
            device_key: this device's Ed25519 public key, 32 bytes; its private half signs the messages.
            vouch: opens peers' certificates, see :class:`federated_protocol.trust.TrustStore`.
            floor: smallest aggregate this device joins, pinned on the device; at least 2.
            threat: (k, t) must protect at least against this.
            rng: source of secrets; anything but the default belongs in tests.
            largest_cohort: most participants, from the plan: the vector's moduli were solved for it.

        Raises:
            ProtocolError: the floor is below what the protocol needs.
        """
        if floor < SMALLEST_COHORT:
            raise ProtocolError(Reason.BELOW_FLOOR, f"a floor below {SMALLEST_COHORT} protects nobody; raise it")
        self._binding = binding
        self._layout = layout
        self._device_key = device_key
        self._vouch = vouch
        self._rng = rng
        self._rules = JoinRules(floor, threat, min(largest_cohort, LARGEST_COHORT))
        self._state = ClientState.NEW
        self._secrets: _Secrets | None = None
        self._context: RunContext | None = None
        self._peers: dict[int, Peer] = {}
        self._neighbours: tuple[int, ...] = ()
        self._index = 0
        self._sharers: frozenset[int] = frozenset()
        self._alive: frozenset[int] = frozenset()
        self._confirmed = b""

    # -- what a status line may show -----------------------------------------------------------------------------

    @property
    def state(self) -> ClientState:
        """Where this device stands."""
        return self._state

    @property
    def index(self) -> int:
        """This device's index, 1..n; 0 before there is a roster."""
        return self._index

    @property
    def parameters(self) -> GraphParameters | None:
        """n, k and t; None before there is a roster."""
        return None if self._context is None else self._context.parameters

    @property
    def participants(self) -> int:
        """n = |U1|; 0 before there is a roster."""
        return 0 if self._context is None else self._context.parameters.n

    @property
    def binding(self) -> bytes:
        """What the signature over this device's present message has to cover, 32 bytes."""
        return self._binding.digest if self._context is None else self._context.digest

    # -- steps ---------------------------------------------------------------------------------------------------

    def advertise(self) -> KeyAdvertisement:
        """Step 0: make two key pairs for this session alone and show their public halves."""
        with self._step(ClientStep.ADVERTISE):
            self._secrets = _Secrets(
                cipher_key=X25519PrivateKey.from_private_bytes(self._rng(derivation.PRIVATE_KEY_BYTES)),
                mask_key=X25519PrivateKey.from_private_bytes(self._rng(derivation.PRIVATE_KEY_BYTES)),
                self_mask_seed=self._rng(derivation.SELF_MASK_SEED_BYTES),
            )
            self._own_keys = KeyAdvertisement(
                cipher_key=self._secrets.cipher_key.public_key().public_bytes_raw(),
                mask_key=self._secrets.mask_key.public_key().public_bytes_raw(),
            )
            return self._own_keys

    def share(self, roster: Roster) -> EncryptedShares:
        """Step 1: deal the masking key and the self-mask seed t-of-k, encrypted to each neighbour.

        Raises:
            ProtocolError: the roster is not one to join: fewer participants than the floor, more than the plan's
                cohort, (k, t) outside the admissible range, others than this device's neighbours, keys unusable,
                repeated, not under the root, not signed for this round, or of a device without a certificate.
        """
        with self._step(ClientStep.SHARE):
            secrets = self._own_secrets()
            self._context, self._peers = check_roster(
                roster, self._binding, self._device_key, self._own_keys, self._rules, self._vouch
            )
            self._index = roster.index
            graph, context, t = self._context.graph, self._context.digest, self._context.parameters.threshold
            self._neighbours = graph.neighbours(self._index)
            mask_key = secrets.mask_key.private_bytes_raw()
            dealt = shamir.deal([mask_key, secrets.self_mask_seed], t, graph.holders_count, self._rng)
            boxes: list[bytes] = []
            for holder, (mask_key_share, self_mask_share) in zip(graph.holders(self._index), dealt, strict=True):
                if holder == self._index:
                    secrets.held_shares[holder] = (mask_key_share, self_mask_share)
                    continue
                agreement = derivation.agree(secrets.cipher_key, self._peers[holder].keys.cipher_key)
                secrets.box_agreements[holder] = agreement
                key = derivation.share_key(agreement, context, self._index, holder)
                boxes.append(share_box.seal(key, self._index, holder, mask_key_share, self_mask_share))
            commitment = derivation.seed_commitment(secrets.self_mask_seed, context, self._index)
            return EncryptedShares(seed_commitment=commitment, ciphertexts=b"".join(boxes))

    def masked_input(self, mailbox: Mailbox, vector: Vector) -> MaskedInput:
        """Step 2: open the neighbours' shares, mask the vector and pack it. At most once in a session.

        Args:
            mailbox: the ciphertexts for this device; their senders are its neighbours in U2.
            vector: unsigned [layout.length], each element below its field's modulus; it is not changed.

        Raises:
            ProtocolError: fewer than t sharers, shares that do not open, or a vector that does not fit the layout.
        """
        with self._step(ClientStep.MASKED_INPUT):
            secrets, context = self._own_secrets(), self._run()
            senders = self._open_mailbox(mailbox, secrets)
            try:
                masked = self._layout.check(vector).copy()
            except CodecError as error:
                raise ProtocolError(Reason.BAD_VECTOR, str(error)) from None
            masks = MaskGenerator(self._layout.length)
            masks.add(masked, derivation.self_mask_key(secrets.self_mask_seed, context.digest, self._index))
            for peer in senders:
                agreement = derivation.agree(secrets.mask_key, self._peers[peer].keys.mask_key)
                key = derivation.pair_mask_key(agreement, context.digest, self._index, peer)
                masks.add_pair(masked, key, self._index, peer)
            self._layout.reduce(masked)
            return MaskedInput(packed=pack(masked, self._layout))

    def confirm(self, survivors: Survivors) -> Confirmation:
        """Step 3: state which survivors this device was shown; the envelope's signature makes it binding.

        Raises:
            ProtocolError: U3 does not include this device, names a neighbour that never shared, is smaller than the
                floor, leaves fewer than t neighbours or more missing than the graph was solved for, or fewer than
                floor members of it are shown to be enrolled.
        """
        with self._step(ClientStep.CONFIRM):
            context = self._run()
            own = Peer(self._index, self._device_key, self._own_keys)
            self._alive = check_survivors(survivors, context, own, self._sharers, self._peers, self._rules, self._vouch)
            self._confirmed = derivation.confirmation_digest(context.digest, survivors.members)
            return Confirmation(digest=self._confirmed)

    def unmask(self, confirmations: Confirmations) -> Unmasking:
        """Step 4: once t neighbours confirmed the same U3, reveal one share of each sharer; then forget everything.

        Raises:
            ProtocolError: too few confirmations, or one that is not over this device's view.
        """
        with self._step(ClientStep.UNMASK):
            context = self._run()
            check_confirmations(confirmations, context, self._confirmed, self._neighbours, self._peers, self._alive)
            held = self._own_secrets().held_shares
            owners = [owner for owner in context.graph.holders(self._index) if owner in held]
            missing = [slot for slot, owner in enumerate(owners) if owner not in self._alive]
            shares = [held[owner][1] if owner in self._alive else held[owner][0] for owner in owners]
            self._secrets = None
            return Unmasking(missing=pack_set(missing, len(owners)), shares=b"".join(shares))

    def forget(self) -> None:
        """Drop all secrets; no call gives anything out any more. Harmless at any time."""
        self._state = ClientState.ABORTED
        self._secrets = None

    # -- inside --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _step(self, step: ClientStep) -> Iterator[None]:
        """Run one step if the table allows it; whatever goes wrong aborts the session."""
        try:
            if self._state is ClientState.ABORTED:
                raise ProtocolError(Reason.ABORTED, "this session has ended for this device; wait for the next round")
            target = TRANSITIONS.get((self._state, step))
            if target is None:
                raise ProtocolError(Reason.WRONG_ORDER, f"{step.value} is not legal when {self._state.value}")
            yield
        except BaseException:
            self.forget()
            raise
        self._state = target

    def _own_secrets(self) -> _Secrets:
        if self._secrets is None:
            raise ProtocolError(Reason.ABORTED, "the secrets of this session are gone; wait for the next round")
        return self._secrets

    def _run(self) -> RunContext:
        assert self._context is not None  # by the transition table
        return self._context

    def _open_mailbox(self, mailbox: Mailbox, secrets: _Secrets) -> list[int]:
        senders = [self._neighbours[slot] for slot in unpack_set(mailbox.senders, len(self._neighbours))]
        size = share_box.CIPHERTEXT_BYTES
        if len(mailbox.ciphertexts) != size * len(senders):
            raise ProtocolError(Reason.BAD_CIPHERTEXT, f"an encrypted pair of shares has {size} bytes")
        context = self._run()
        t = context.parameters.threshold
        if len(senders) + context.parameters.complete < t:
            raise ProtocolError(Reason.BELOW_THRESHOLD, f"{len(senders)} neighbours shared, {t} are needed")
        if context.parameters.complete and len(senders) + 1 < self._rules.floor:
            raise ProtocolError(Reason.BELOW_FLOOR, f"{len(senders) + 1} are left, this device needs more")
        for at, sender in enumerate(senders):
            key = derivation.share_key(secrets.box_agreements[sender], context.digest, sender, self._index)
            box = mailbox.ciphertexts[size * at : size * (at + 1)]
            secrets.held_shares[sender] = share_box.open_box(key, sender, self._index, box)
        self._sharers = frozenset((*senders, self._index))
        return senders
