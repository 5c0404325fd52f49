"""The messages devices and coordinator exchange, each a frozen struct with bounded fields.

On the wire: MessagePack (``application/msgpack``), unknown fields refused. A device's messages travel inside
:class:`SignedMessage`; the coordinator's answers are plain. Round messages follow Bonawitz et al. (eprint 2017/281)
and are named after its steps. Reasons are enums, so neither a log line nor an answer can carry data.

Devices are named inside a round by ``index``, 1..n: their position among all who advertised keys, in the order of
their fingerprints. Where a message holds something for each neighbour, it stands in the order of
:meth:`federated_protocol.secure_aggregation.graph.Graph.neighbours`, without names; bit maps are as in
:mod:`federated_protocol.secure_aggregation.bitmap`. ``device`` is the fingerprint of an identity key
(:func:`federated_protocol.enrolment.fingerprint`).
"""

from __future__ import annotations

import enum

import msgspec


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Base of all messages: immutable, unknown fields refused."""


class Phase(enum.StrEnum):
    """The steps a device answers in a round, in order; also the last path element of the device API."""

    ADVERTISE = "advertise"
    SHARE = "share"
    MASKED_INPUT = "masked_input"
    CONFIRM = "confirm"
    UNMASK = "unmask"


class AbandonReason(enum.StrEnum):
    """Why a round ended without a sum."""

    TOO_FEW_SELECTED = "too_few_selected"
    TOO_FEW_ADVERTISED = "too_few_advertised"
    TOO_FEW_SHARED = "too_few_shared"
    TOO_FEW_INPUTS = "too_few_inputs"
    TOO_FEW_CONFIRMED = "too_few_confirmed"
    TOO_FEW_UNMASKED = "too_few_unmasked"
    UNMASKING_FAILED = "unmasking_failed"
    TOO_FEW_COHORTS = "too_few_cohorts"
    """Of a round that was cut into cohorts, most ended without a sum."""
    DEVIANT_COHORT = "deviant_cohort"
    """The cohort's sum was opened, and left out of the average because it is far from the other cohorts'."""
    EVALUATION_GATE = "evaluation_gate"
    PRIVACY_BUDGET = "privacy_budget"
    """The sum would cost more than the task's privacy budget holds."""
    COORDINATOR_RESTARTED = "coordinator_restarted"
    OPERATOR = "operator"


class RefusalReason(enum.StrEnum):
    """Why one request was refused. Each has one HTTP status, see ``coordinator/web``."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    BAD_SIGNATURE = "bad_signature"
    NOT_ENROLLED = "not_enrolled"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CLOCK_SKEW = "clock_skew"
    UNKNOWN_SESSION = "unknown_session"
    NOT_A_PARTICIPANT = "not_a_participant"
    WRONG_PHASE = "wrong_phase"
    CONFLICTING_REPEAT = "conflicting_repeat"
    UNKNOWN_MODEL = "unknown_model"
    UPGRADE_REQUIRED = "upgrade_required"
    UNAVAILABLE = "unavailable"


class ComeBackReason(enum.StrEnum):
    """Why a check-in was not selected."""

    NO_ROUND = "no_round"
    ROUND_FULL = "round_full"
    PACE = "pace"
    PRIVACY_BUDGET = "privacy_budget"
    """The task's privacy budget is spent: no round opens any more."""


# -- device to coordinator ---------------------------------------------------------------------------------------


class SignedMessage(Message, frozen=True, array_like=True):
    """Envelope of everything a device sends: ``signature`` is Ed25519 over purpose, session and payload."""

    device: bytes
    payload: bytes
    signature: bytes


class CheckIn(Message, frozen=True):
    """ "I am willing now." Carries nothing about examples, conditions or the person."""

    protocol_version: int
    app_version: str
    certificate: bytes
    nonce: bytes
    issued_at: float
    """Unix time in seconds by the device's clock."""
    wants_round: bool
    """False when only news about the current model is wanted (conditions do not allow training)."""


class KeyAdvertisement(Message, frozen=True):
    """Step 0: two X25519 public keys, 32 bytes each."""

    cipher_key: bytes
    mask_key: bytes


class EncryptedShares(Message, frozen=True):
    """Step 1: for every neighbour, its pair of Shamir shares, encrypted to it."""

    seed_commitment: bytes
    """32 bytes that the self-mask seed hashes to, so that a wrongly opened one is noticed."""
    ciphertexts: bytes
    """80 bytes a neighbour, in the order of neighbours."""


class MaskedInput(Message, frozen=True):
    """Step 2: the bit-packed masked vector."""

    packed: bytes


class Confirmation(Message, frozen=True):
    """Step 3: "these are the survivors I was shown". The envelope's signature is what the peers check."""

    digest: bytes
    """32 bytes over the run of the protocol and the bit map of U3."""


class Unmasking(Message, frozen=True):
    """Step 4: one share for each sharing neighbour; a slot holds one share of one kind, so never both of one owner."""

    missing: bytes
    """Bit map over the slots: set where the owner's input is missing and the share is of its masking key, clear
    where the input arrived and the share is of its self-mask seed."""
    shares: bytes
    """32 bytes a slot; a slot for each holder of U2 that this device holds shares of, in the order of holders."""


# -- coordinator to device ---------------------------------------------------------------------------------------


class HoldbackModel(Message, frozen=True):
    """A version that was rolled out to the holdback arm as well, and the SHA-256 (hex) of its artifact."""

    version: int
    digest: str


class ModelNotice(Message, frozen=True):
    """The model version now in the field and the SHA-256 (hex) of its artifact."""

    version: int
    digest: str
    holdback: HoldbackModel | None = None
    """What devices of the holdback arm rank with meanwhile; None is version 0."""


class NoticeOfVersion1(Message, frozen=True):
    """The form of :class:`ModelNotice` that devices of protocol version 1 read."""

    version: int
    digest: str


class Selected(Message, frozen=True, tag="selected"):
    """Check-in accepted: poll the session's plan."""

    session: str
    current: ModelNotice
    retry_after_s: float


class ComeBack(Message, frozen=True, tag="come_back"):
    """Not now."""

    after_s: float
    reason: ComeBackReason
    current: ModelNotice


class UpgradeRequired(Message, frozen=True, tag="upgrade_required"):
    """This protocol version is no longer served."""

    oldest_protocol_version: int


CheckInAnswer = Selected | ComeBack | UpgradeRequired


class Pending(Message, frozen=True, tag="pending"):
    """The phase is still open: ask again after ``retry_after_s``."""

    retry_after_s: float


class Abandoned(Message, frozen=True, tag="abandoned"):
    """The round ended without a sum; forget its secrets."""

    reason: AbandonReason


class PlanAnswer(Message, frozen=True, tag="plan"):
    """The plan, in its canonical encoding (:class:`federated_protocol.plan.Plan`)."""

    plan: bytes
    trust: bytes = b""
    """The authority's newest :class:`federated_protocol.trust.TrustList`; empty where it never made one."""


class RosterEntry(Message, frozen=True, array_like=True):
    """One member of U1, with the evidence that it is an enrolled device that said so for this very round."""

    index: int
    cipher_key: bytes
    mask_key: bytes
    signature: bytes
    """Of its key advertisement's envelope, 64 bytes."""
    certificate: bytes


class Roster(Message, frozen=True, tag="roster"):
    """End of step 0: the graph, this device's place in it, and its neighbours' keys."""

    participants: int
    """n = |U1|"""
    neighbours: int
    """k; n - 1 is the complete graph."""
    threshold: int
    """t, shares that open a secret."""
    index: int
    """The index of the device this answer is for."""
    root: bytes
    """Merkle root of all advertised keys, 32 bytes."""
    entries: tuple[RosterEntry, ...]
    """The neighbours, by ascending index."""
    proof: bytes
    """Hashes that lead from the neighbours' and this device's leaves to the root."""


class Mailbox(Message, frozen=True, tag="mailbox"):
    """End of step 1: the ciphertexts addressed to this device. Their senders and itself are what it learns of U2."""

    senders: bytes
    """Bit map over the neighbours."""
    ciphertexts: bytes
    """80 bytes a sender."""


class Survivors(Message, frozen=True, tag="survivors"):
    """End of step 2: U3, whose masked inputs arrived."""

    members: bytes
    """Bit map over the indices 1..n."""
    witnesses: tuple[RosterEntry, ...]
    """Members of U3 that are no neighbours, by ascending index, where fewer neighbours than the plan's smallest
    aggregate are in U3."""
    proof: bytes
    """Hashes that lead from the witnesses' leaves to the root."""


class Confirmations(Message, frozen=True, tag="confirmations"):
    """End of step 3: signatures of neighbours over the same U3."""

    signers: bytes
    """Bit map over the neighbours."""
    signatures: bytes
    """64 bytes a signer."""


class Finished(Message, frozen=True, tag="finished"):
    """The round is over; ``current`` is the model it made."""

    current: ModelNotice
    participants: int


SessionAnswer = Pending | Abandoned | PlanAnswer | Roster | Mailbox | Survivors | Confirmations | Finished


class Refusal(Message, frozen=True, tag="refusal"):
    """A refused request, with a sentence that says what to do."""

    reason: RefusalReason
    message: str


# -- artifacts ---------------------------------------------------------------------------------------------------


class ModelArtifact(Message, frozen=True):
    """A published model: the trainable weights on top of a release bundle, and the trigger threshold."""

    version: int
    parent: int
    bundle_digest: str
    """SHA-256 (hex) of the bundle's manifest: weights only fit the bundle they were trained on."""
    weights: bytes
    """float32, little-endian, ``dimension`` of them."""
    threshold: float
    """Offer the top candidate when its logit exceeds this."""


class Anchor(Message, frozen=True):
    """What a device needs beside a model for one pass of FSVRG from it: opened sums, the same for everybody."""

    gradient: bytes
    """Of the whole objective at the model's weights, ridge included: float32, little-endian, one a weight."""
    feature_share: bytes
    """Share of all examples that hold each feature, [0, 1]: float32, little-endian, one a weight."""
