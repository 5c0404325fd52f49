"""The messages devices and coordinator exchange, each a frozen struct with bounded fields.

On the wire: MessagePack (``application/msgpack``), unknown fields refused. A device's messages travel inside
:class:`SignedMessage`; the coordinator's answers are plain. Round messages follow Bonawitz et al. (eprint 2017/281)
and are named after its steps. Reasons are enums, so neither a log line nor an answer can carry data.

Devices are named inside a round by ``index``, 1..n: their position in the roster, which is also their Shamir
x-coordinate. ``device`` is the fingerprint of an identity key (:func:`federated_protocol.enrolment.fingerprint`).
"""

from __future__ import annotations

import enum

import msgspec


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all messages: immutable, unknown fields refused."""


class Phase(enum.StrEnum):
    """The steps a device answers in a round, in order; also the last path element of the device API."""

    ADVERTISE = "advertise"
    SHARE = "share"
    MASKED_INPUT = "masked_input"
    UNMASK = "unmask"


class AbandonReason(enum.StrEnum):
    """Why a round ended without a sum."""

    TOO_FEW_SELECTED = "too_few_selected"
    TOO_FEW_ADVERTISED = "too_few_advertised"
    TOO_FEW_SHARED = "too_few_shared"
    TOO_FEW_INPUTS = "too_few_inputs"
    TOO_FEW_UNMASKED = "too_few_unmasked"
    UNMASKING_FAILED = "unmasking_failed"
    EVALUATION_GATE = "evaluation_gate"
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


# -- device to coordinator ---------------------------------------------------------------------------------------


class SignedMessage(Message, frozen=True):
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
    """Step 1: for every other participant, its encrypted pair of Shamir shares, keyed by index."""

    ciphertexts: dict[int, bytes]


class MaskedInput(Message, frozen=True):
    """Step 2: the bit-packed masked vector."""

    packed: bytes


class MaskKeyShare(Message, frozen=True, tag="mask_key"):
    """Share of a *missing* participant's masking key (33 bytes, a number below p = 2^256 + 297, big-endian)."""

    share: bytes


class SelfMaskShare(Message, frozen=True, tag="self_mask"):
    """Share of a *present* participant's self-mask seed (33 bytes)."""

    share: bytes


class Unmasking(Message, frozen=True):
    """Step 4: one share per owner; the sum type makes "both shares of one owner" unrepresentable."""

    reveals: dict[int, MaskKeyShare | SelfMaskShare]


# -- coordinator to device ---------------------------------------------------------------------------------------


class ModelNotice(Message, frozen=True):
    """The model version now in the field and the SHA-256 (hex) of its artifact."""

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


class RosterEntry(Message, frozen=True):
    """One member of U1."""

    index: int
    cipher_key: bytes
    mask_key: bytes


class Roster(Message, frozen=True, tag="roster"):
    """End of step 0: U1's keys and the threshold t of the sharing."""

    entries: tuple[RosterEntry, ...]
    threshold: int


class Mailbox(Message, frozen=True, tag="mailbox"):
    """End of step 1: the ciphertexts addressed to this device, keyed by sender; the senders and itself are U2."""

    ciphertexts: dict[int, bytes]


class Survivors(Message, frozen=True, tag="survivors"):
    """End of step 2: U3, the indices whose masked input arrived."""

    indices: tuple[int, ...]


class Finished(Message, frozen=True, tag="finished"):
    """The round is over; ``current`` is the model it made."""

    current: ModelNotice
    participants: int


SessionAnswer = Pending | Abandoned | PlanAnswer | Roster | Mailbox | Survivors | Finished


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
