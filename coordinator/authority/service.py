"""Enrolment over HTTP: whoever holds a token gets a certificate for its public key.

``POST /v1/certificates`` with JSON ``{"public_key": HEX, "token": TEXT}`` answers ``{"certificate": HEX, "trust":
HEX}``, the latter being the trust list in force, if there is one; so does ``POST /v1/renewals`` with ``{"renewal":
HEX}``, for the next key of a device whose certificate is in force. Errors are
``{"error": SENTENCE}``: 400 malformed, 403 wrong token or a key that is not renewed, 413 too large.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Collection

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from coordinator.authority.directory import Authority, AuthorityError, Renewals, read_trust_list
from coordinator.events import Event, log_event, log_failure
from federated_protocol import wire
from federated_protocol.enrolment import Certificate
from federated_protocol.errors import MalformedMessage
from federated_protocol.signing import KEY_BYTES

LARGEST_REQUEST_BYTES = 4096


class CertificateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device sends."""

    public_key: str
    """Ed25519 public key, hex."""
    token: str


class RenewalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device sends for its next key."""

    renewal: str
    """:class:`federated_protocol.renewal.Renewal`, hex."""


class IssuedCertificate(msgspec.Struct, frozen=True):
    """What it gets."""

    certificate: str
    """The certificate's bytes, hex."""
    trust: str
    """The newest trust list's bytes, hex; empty where there is none."""


class EnrolmentFailure(msgspec.Struct, frozen=True):
    """Why not, and what to do."""

    error: str


def create_authority_app(
    authority: Authority,
    tokens: Collection[str],
    renewed: Renewals,
    *,
    days: float = 365.0,
    clock: Callable[[], float] = time.time,
) -> Flask:
    """Make the service. ``tokens`` may be used any number of times; an empty collection is refused."""
    secrets = [token.encode() for token in tokens if token]
    if not secrets:
        raise AuthorityError("an authority without a token would enrol anybody: give --token or --token-file")
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST_BYTES

    def issued(certificate: Certificate) -> Response:
        trust = read_trust_list(renewed.folder)  # made by another command while this one serves
        known = b"" if trust is None or clock() > trust.not_after else trust.encode()
        return _answer(IssuedCertificate(certificate.encode().hex(), known.hex()), 200)

    @app.post("/v1/certificates")
    def certificates() -> Response:
        try:
            wanted = wire.decode_json(request.get_data(cache=False), CertificateRequest)
            key = bytes.fromhex(wanted.public_key)
        except (MalformedMessage, ValueError):
            return _answer(EnrolmentFailure('send JSON {"public_key": HEX, "token": TEXT} and nothing else'), 400)
        given = wanted.token.encode("utf-8", "surrogatepass")
        if not sum(hmac.compare_digest(given, secret) for secret in secrets):  # compares all: no early exit
            return _answer(EnrolmentFailure("this token is not known: ask the operator for one"), 403)
        if len(key) != KEY_BYTES:
            return _answer(EnrolmentFailure(f"an Ed25519 public key has {KEY_BYTES} bytes"), 400)
        certificate = authority.certify(key, clock(), days)
        log_event(Event.CERTIFICATE_ISSUED, insecure_demo=int(authority.insecure_demo))
        return issued(certificate)

    @app.post("/v1/renewals")
    def renewals() -> Response:
        try:
            raw = bytes.fromhex(wire.decode_json(request.get_data(cache=False), RenewalRequest).renewal)
        except (MalformedMessage, ValueError):
            return _answer(EnrolmentFailure('send JSON {"renewal": HEX} and nothing else'), 400)
        try:
            certificate = authority.renew(raw, renewed, clock(), days)
        except AuthorityError as error:
            return _answer(EnrolmentFailure(str(error)), 403)
        log_event(Event.CERTIFICATE_ISSUED, insecure_demo=int(authority.insecure_demo))
        return issued(certificate)

    @app.get("/v1/health")
    def health() -> Response:
        return _answer({"status": "ok", "insecure_demo": authority.insecure_demo}, 200)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        advice = "the request is too large" if status == 413 else "no such call: POST /v1/certificates"
        return _answer(EnrolmentFailure(advice), status)

    @app.errorhandler(Exception)
    def internal_error(error: Exception) -> Response:
        log_failure(Event.INTERNAL_ERROR, error)
        return _answer(EnrolmentFailure("the authority failed on this request: try again later"), 500)

    return app


def _answer(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status=status, content_type="application/json")
