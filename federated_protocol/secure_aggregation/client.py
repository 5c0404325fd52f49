"""A device's side of secure aggregation (eprint 2017/281, figure 4, honest-but-curious), sans-I/O.

Theory of operation. One :class:`AggregationClient` serves one session. Each step takes the coordinator's answer to the
step before and returns the message to send; the caller signs, sends and repeats it. What a device may do when:

    state        call            -> state        what leaves the device
    -----------  --------------  --------------  --------------------------------------------------------------
    NEW          advertise()     ADVERTISED      two public keys
    ADVERTISED   share()         SHARED          shares of its two secrets, one pair a peer, encrypted to the peer
    SHARED       masked_input()  MASKED          its vector under one mask a peer and one of its own; once, never again
    MASKED       unmask()        DONE            of each peer one share: of the self-mask if its input arrived, else
                                                 of the masking key
    any          forget()        ABORTED         nothing

Anything else, and any value that an honest coordinator would not send, raises a
:class:`~federated_protocol.errors.ProtocolError` with a named reason and leads to ABORTED, from where no call gives
anything out; the secrets are dropped on the way there, and on the way to DONE.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated_protocol.errors import CodecError, ProtocolError
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
    Survivors,
    Unmasking,
)
from federated_protocol.randomness import ByteSource
from federated_protocol.secure_aggregation import derivation, shamir, share_box
from federated_protocol.secure_aggregation.masks import MaskGenerator
from federated_protocol.secure_aggregation.parameters import LARGEST_COHORT, SMALLEST_COHORT, threshold_for
from federated_protocol.vector_layout import Vector, VectorLayout, pack


class ClientState(enum.Enum):
    """Where a device stands in the protocol."""

    NEW = "new"
    ADVERTISED = "advertised"
    SHARED = "shared"
    MASKED = "masked"
    DONE = "done"
    ABORTED = "aborted"


class ClientStep(enum.Enum):
    """What a device can be asked to do."""

    ADVERTISE = "advertise"
    SHARE = "share"
    MASKED_INPUT = "masked_input"
    UNMASK = "unmask"


TRANSITIONS: dict[tuple[ClientState, ClientStep], ClientState] = {
    (ClientState.NEW, ClientStep.ADVERTISE): ClientState.ADVERTISED,
    (ClientState.ADVERTISED, ClientStep.SHARE): ClientState.SHARED,
    (ClientState.SHARED, ClientStep.MASKED_INPUT): ClientState.MASKED,
    (ClientState.MASKED, ClientStep.UNMASK): ClientState.DONE,
}
"""The only legal steps; diagrams in the documentation are drawn from this table, see :func:`state_diagram`."""


def state_diagram() -> str:
    """The transition table as a Mermaid state diagram."""
    legal = [f"    {before.value} --> {after.value}: {step.value}" for (before, step), after in TRANSITIONS.items()]
    ends = [f"    {before.value} --> aborted: anything else" for before, _ in TRANSITIONS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {ClientState.NEW.value}", *legal, *ends]) + "\n"


@dataclass
class _Secrets:
    """Everything that must not outlive the session."""

    cipher_key: X25519PrivateKey
    mask_key: X25519PrivateKey
    self_mask_seed: bytes
    box_agreements: dict[int, bytes] = field(default_factory=dict)
    """X25519 agreement of the cipher keys, by peer."""
    held_shares: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """(masking-key share, self-mask share) of each member of U2, own ones included, by owner."""


class AggregationClient:
    """One device in one session. See the module's text for the order of calls."""

    def __init__(
        self,
        session: str,
        plan_digest: bytes,
        layout: VectorLayout,
        *,
        floor: int,
        rng: ByteSource = os.urandom,
        largest_cohort: int = LARGEST_COHORT,
    ) -> None:
        """
        Args:
            session: session id; both ends bind every key to it.
            plan_digest: :func:`federated_protocol.plan.plan_digest` of the plan this device agreed to.
            layout: fields of the vector to be summed.
            floor: smallest aggregate this device joins, pinned on the device; at least 2.
            rng: source of secrets; anything but the default belongs in tests.
            largest_cohort: most participants, from the plan: the vector's moduli were solved for it.

        Raises:
            ProtocolError: the floor is below what the protocol needs.
        """
        if floor < SMALLEST_COHORT:
            raise ProtocolError(Reason.BELOW_FLOOR, f"a floor below {SMALLEST_COHORT} protects nobody; raise it")
        self._session = session
        self._plan_digest = plan_digest
        self._layout = layout
        self._rng = rng
        self._floor = floor
        self._largest_cohort = min(largest_cohort, LARGEST_COHORT)
        self._state = ClientState.NEW
        self._secrets: _Secrets | None = None
        self._entries: dict[int, RosterEntry] = {}
        self._context = b""
        self._index = 0
        self._threshold = 0
        self._sharers: frozenset[int] = frozenset()

    # -- what a status line may show -----------------------------------------------------------------------------

    @property
    def state(self) -> ClientState:
        """Where this device stands."""
        return self._state

    @property
    def index(self) -> int:
        """This device's index in the roster, 1..n; 0 before there is one."""
        return self._index

    @property
    def participants(self) -> int:
        """n = |U1|; 0 before there is a roster."""
        return len(self._entries)

    # -- steps ---------------------------------------------------------------------------------------------------

    def advertise(self) -> KeyAdvertisement:
        """Step 0: make two key pairs for this session alone and show their public halves."""
        with self._step(ClientStep.ADVERTISE):
            self._secrets = _Secrets(
                cipher_key=X25519PrivateKey.from_private_bytes(self._rng(derivation.PRIVATE_KEY_BYTES)),
                mask_key=X25519PrivateKey.from_private_bytes(self._rng(derivation.PRIVATE_KEY_BYTES)),
                self_mask_seed=self._rng(derivation.SELF_MASK_SEED_BYTES),
            )
            return self._own_keys()

    def share(self, roster: Roster) -> EncryptedShares:
        """Step 1: deal the masking key and the self-mask seed t-of-n, encrypted to each peer.

        Raises:
            ProtocolError: the roster is not one to join: indices not 1..n, keys unusable or repeated, own entry
                missing, fewer participants than the floor, more than the plan's cohort, or t not ⌊n/2⌋ + 1.
        """
        with self._step(ClientStep.SHARE):
            self._check_roster(roster)
            secrets = self._own_secrets()
            n = len(roster.entries)
            mask_key = secrets.mask_key.private_bytes_raw()
            dealt = shamir.deal([mask_key, secrets.self_mask_seed], roster.threshold, n, self._rng)
            ciphertexts: dict[int, bytes] = {}
            for entry, (mask_key_share, self_mask_share) in zip(roster.entries, dealt, strict=True):
                peer = entry.index
                if peer == self._index:
                    secrets.held_shares[peer] = (mask_key_share, self_mask_share)
                    continue
                agreement = derivation.agree(secrets.cipher_key, entry.cipher_key)
                secrets.box_agreements[peer] = agreement
                key = derivation.share_key(agreement, self._context, self._index, peer)
                ciphertexts[peer] = share_box.seal(key, self._index, peer, mask_key_share, self_mask_share)
            return EncryptedShares(ciphertexts=ciphertexts)

    def masked_input(self, mailbox: Mailbox, vector: Vector) -> MaskedInput:
        """Step 2: open the peers' shares, mask the vector and pack it. At most once in a session.

        Args:
            mailbox: the ciphertexts for this device; their senders and this device are U2.
            vector: unsigned [layout.length], each element below its field's modulus; it is not changed.

        Raises:
            ProtocolError: unknown senders, fewer than threshold or floor, shares that do not open, or a vector that
                does not fit the layout.
        """
        with self._step(ClientStep.MASKED_INPUT):
            secrets = self._own_secrets()
            self._open_mailbox(mailbox, secrets)
            try:
                masked = self._layout.check(vector).copy()
            except CodecError as error:
                raise ProtocolError(Reason.BAD_VECTOR, str(error)) from None
            masks = MaskGenerator(self._layout.length)
            masks.add(masked, derivation.self_mask_key(secrets.self_mask_seed, self._context, self._index))
            for peer in sorted(self._sharers - {self._index}):
                agreement = derivation.agree(secrets.mask_key, self._entries[peer].mask_key)
                key = derivation.pair_mask_key(agreement, self._context, self._index, peer)
                masks.add_pair(masked, key, self._index, peer)
            self._layout.reduce(masked)
            return MaskedInput(packed=pack(masked, self._layout))

    def unmask(self, survivors: Survivors) -> Unmasking:
        """Step 4: reveal one share of each member of U2; then forget everything.

        Raises:
            ProtocolError: U3 is not a set of members of U2 that includes this device, or is smaller than threshold
                or floor.
        """
        with self._step(ClientStep.UNMASK):
            alive = frozenset(survivors.indices)
            if len(alive) != len(survivors.indices):
                raise ProtocolError(Reason.BAD_INDEX, "a survivor is named twice")
            if not alive <= self._sharers:
                raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "a survivor never shared its secrets")
            if self._index not in alive:
                raise ProtocolError(Reason.OWN_ENTRY_MISSING, "this device's input is not among the survivors")
            self._check_enough(len(alive))
            held = self._own_secrets().held_shares
            reveals: dict[int, MaskKeyShare | SelfMaskShare] = {
                owner: SelfMaskShare(held[owner][1]) if owner in alive else MaskKeyShare(held[owner][0])
                for owner in sorted(self._sharers)
            }
            self._secrets = None
            return Unmasking(reveals=reveals)

    def forget(self) -> None:
        """Drop all secrets; no call gives anything out any more. Harmless at any time."""
        self._state = ClientState.ABORTED
        self._secrets = None

    # -- checks --------------------------------------------------------------------------------------------------

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

    def _own_keys(self) -> KeyAdvertisement:
        secrets = self._own_secrets()
        return KeyAdvertisement(
            cipher_key=secrets.cipher_key.public_key().public_bytes_raw(),
            mask_key=secrets.mask_key.public_key().public_bytes_raw(),
        )

    def _check_roster(self, roster: Roster) -> None:
        n = len(roster.entries)
        if n < self._floor:
            raise ProtocolError(Reason.BELOW_FLOOR, f"{n} participants, this device joins {self._floor} or more")
        if n > self._largest_cohort:
            raise ProtocolError(Reason.ABOVE_LARGEST_COHORT, f"{n} participants, at most {self._largest_cohort} fit")
        if roster.threshold != threshold_for(n):
            raise ProtocolError(Reason.BAD_THRESHOLD, f"threshold {roster.threshold} for {n} participants")
        if [entry.index for entry in roster.entries] != list(range(1, n + 1)):
            raise ProtocolError(Reason.BAD_INDEX, "the roster's indices are not 1..n in order")
        keys = [key for entry in roster.entries for key in (entry.cipher_key, entry.mask_key)]
        if any(len(key) != derivation.PUBLIC_KEY_BYTES for key in keys):
            raise ProtocolError(Reason.BAD_KEY, "a public key of the roster has the wrong length")
        if len(set(keys)) != len(keys):
            raise ProtocolError(Reason.DUPLICATE_KEY, "two public keys of the roster are equal")
        own = self._own_keys()
        mine = [e.index for e in roster.entries if (e.cipher_key, e.mask_key) == (own.cipher_key, own.mask_key)]
        if not mine:
            raise ProtocolError(Reason.OWN_ENTRY_MISSING, "this device's keys are not in the roster")
        self._index = mine[0]
        self._entries = {entry.index: entry for entry in roster.entries}
        self._threshold = roster.threshold
        self._context = derivation.session_context(self._session, self._plan_digest, roster)

    def _open_mailbox(self, mailbox: Mailbox, secrets: _Secrets) -> None:
        senders = frozenset(mailbox.ciphertexts)
        if not senders <= secrets.box_agreements.keys():
            raise ProtocolError(Reason.UNKNOWN_PARTICIPANT, "shares of somebody who is not a peer of this session")
        self._check_enough(len(senders) + 1)
        for sender, ciphertext in mailbox.ciphertexts.items():
            key = derivation.share_key(secrets.box_agreements[sender], self._context, sender, self._index)
            secrets.held_shares[sender] = share_box.open_box(key, sender, self._index, ciphertext)
        self._sharers = senders | {self._index}

    def _check_enough(self, n: int) -> None:
        """Raise unless ``n`` still in the round reach the threshold and this device's floor."""
        if n < self._threshold:
            raise ProtocolError(Reason.BELOW_THRESHOLD, f"{n} participants are left, {self._threshold} are needed")
        if n < self._floor:
            raise ProtocolError(Reason.BELOW_FLOOR, f"{n} participants are left, this device needs {self._floor}")
