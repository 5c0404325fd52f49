"""Errors of the protocol package, one small hierarchy.

Every error says what is wrong and what to do next, names a reason from an enum where code has to decide on it, and
never quotes the data that caused it: what a peer sent does not reach a log line through an exception.
"""

from __future__ import annotations

import enum


class FederatedProtocolError(Exception):
    """Base of everything this package raises on purpose."""


class MalformedMessage(FederatedProtocolError):  # noqa: N818 - the wire's name for it
    """Bytes that are not the expected message, or are larger than allowed."""


class MessageTooLarge(MalformedMessage):
    """More bytes than this message may have."""


class BadSignature(FederatedProtocolError):  # noqa: N818
    """The signature does not belong to this device, purpose, session and payload."""


class EnrolmentError(FederatedProtocolError):
    """Base of all reasons why a certificate is not accepted."""


class CertificateMalformed(EnrolmentError):  # noqa: N818 - says what it is
    """The bytes are not a certificate."""


class CertificateForged(EnrolmentError):  # noqa: N818 - says what it is
    """The certificate was not signed by the expected authority."""


class CertificateRevoked(EnrolmentError):  # noqa: N818 - says what it is
    """The authority took the certificate back."""


class TrustListRejected(EnrolmentError):  # noqa: N818 - says what it is
    """A statement about authority keys and revocations that is forged, outdated or older than the one in force."""


class CertificateExpired(EnrolmentError):  # noqa: N818 - says what it is
    """The certificate is past its end, or not valid yet."""


class CodecError(FederatedProtocolError, ValueError):
    """Values that do not fit the codec's setting, or a setting that cannot be solved."""


class ProtocolErrorReason(enum.StrEnum):
    """Why a step of secure aggregation was refused."""

    WRONG_ORDER = "wrong_order"
    """The call is not legal in this state."""
    ABORTED = "aborted"
    """An earlier error, or ``forget()``, ended this session for the device."""
    BAD_KEY = "bad_key"
    """A public key of the wrong length, or a point of small order."""
    DUPLICATE_KEY = "duplicate_key"
    BAD_INDEX = "bad_index"
    """Indices are not 1..n, not known, or not in order."""
    OWN_ENTRY_MISSING = "own_entry_missing"
    BAD_PROOF = "bad_proof"
    """Keys that are not under the root of all advertised keys, this device's own included."""
    BAD_SIGNATURE = "bad_signature"
    """A peer's keys were not signed by it for this very round, plan and model."""
    UNCERTIFIED_PEER = "uncertified_peer"
    """A peer without a valid enrolment certificate."""
    BAD_CONFIRMATION = "bad_confirmation"
    """A peer's signature is not over the survivors this device was shown: views differ, or it is forged."""
    TOO_MANY_DROPPED = "too_many_dropped"
    """More are missing than the graph was solved for."""
    BELOW_FLOOR = "below_floor"
    """Fewer participants than this device's pinned floor, or the protocol's."""
    ABOVE_LARGEST_COHORT = "above_largest_cohort"
    """More participants than the plan's codec was solved for."""
    BAD_PARAMETERS = "bad_parameters"
    """A threat model, or a graph, outside what can be solved."""
    BAD_NEIGHBOURS = "bad_neighbours"
    """Too few neighbours, or others than the public permutation gives."""
    BAD_THRESHOLD = "bad_threshold"
    BELOW_THRESHOLD = "below_threshold"
    UNKNOWN_PARTICIPANT = "unknown_participant"
    """A participant that an earlier step did not have."""
    BAD_CIPHERTEXT = "bad_ciphertext"
    BAD_VECTOR = "bad_vector"
    BAD_SHARE = "bad_share"
    """A share of the wrong size or range, missing, of the wrong kind, or contradicting the others."""


class ProtocolError(FederatedProtocolError):
    """A step of secure aggregation that would be illegal; ``reason`` is safe to log and to send."""

    def __init__(self, reason: ProtocolErrorReason, message: str) -> None:
        super().__init__(f"{reason.value}: {message}")
        self.reason = reason
