"""The device API under /v1, MessagePack both ways (JSON in and out when the request's Content-Type says so).

Every answer that is not 200 is a ``Refusal``: a named reason and a sentence that says what to do, never anything of
what was sent. Bodies are refused by size before they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from coordinator.errors import RequestRefusedError
from coordinator.events import Event, log_event, log_failure
from coordinator.rounds.fsvrg import encoded_anchor
from coordinator.service import Coordinator
from federated_protocol import wire
from federated_protocol.errors import MalformedMessage, MessageTooLarge
from federated_protocol.messages import (
    CheckInAnswer,
    Phase,
    Refusal,
    RefusalReason,
    SessionAnswer,
    SignedMessage,
)
from federated_protocol.signing import FINGERPRINT_BYTES

JSON = "application/json"
CHECK_IN_BODY_BYTES = 4096

STATUS: Mapping[RefusalReason, int] = MappingProxyType(
    {
        RefusalReason.MALFORMED: 400,
        RefusalReason.BAD_SIGNATURE: 401,
        RefusalReason.NOT_ENROLLED: 401,
        RefusalReason.CERTIFICATE_EXPIRED: 401,
        RefusalReason.CLOCK_SKEW: 401,
        RefusalReason.NOT_A_PARTICIPANT: 403,
        RefusalReason.UNKNOWN_SESSION: 404,
        RefusalReason.UNKNOWN_MODEL: 404,
        RefusalReason.WRONG_PHASE: 409,
        RefusalReason.CONFLICTING_REPEAT: 409,
        RefusalReason.TOO_LARGE: 413,
        RefusalReason.UPGRADE_REQUIRED: 426,
        RefusalReason.UNAVAILABLE: 503,
    }
)
_REASON_NUMBER = {reason: number for number, reason in enumerate(RefusalReason)}
_SESSION = re.compile(r"[0-9a-f]{16}")
_DEVICE = re.compile(rf"[0-9a-fA-F]{{{2 * FINGERPRINT_BYTES}}}")


def device_api(coordinator: Coordinator) -> Blueprint:
    """The blueprint of all calls a device makes."""
    api = Blueprint("device_api", __name__, url_prefix="/v1")

    @api.post("/check-in")
    def check_in() -> Response:
        signed, _ = _signed_body(CHECK_IN_BODY_BYTES)
        return _answer(coordinator.admission.check_in(signed, coordinator.clock()), CheckInAnswer)

    @api.get("/sessions/<session>/plan")
    def plan(session: str) -> Response:
        _catch_up(coordinator)
        return _answer(coordinator.intake.plan(_session(session), _device(), _wait_s()), SessionAnswer)

    @api.post("/sessions/<session>/<phase>")
    def submit(session: str, phase: str) -> Response:
        step = _phase(phase)
        signed, size_bytes = _signed_body(coordinator.intake.size_limit(_session(session), step))
        _catch_up(coordinator)
        answer = coordinator.intake.submit(session, step, signed, size_bytes, coordinator.clock(), _wait_s())
        return _answer(answer, SessionAnswer)

    @api.get("/sessions/<session>/<phase>")
    def result(session: str, phase: str) -> Response:
        step = _phase(phase)
        _catch_up(coordinator)
        answer = coordinator.intake.result(_session(session), step, _device(), _wait_s())
        return _answer(answer, SessionAnswer)

    @api.get("/models/<version>")
    def model(version: str) -> Response:
        artifact = coordinator.models.artifact(int(version)) if version.isdecimal() and len(version) < 10 else None
        if artifact is None:
            raise RequestRefusedError(
                RefusalReason.UNKNOWN_MODEL, "no such model version: check in for the current one"
            )
        return Response(artifact, content_type=wire.CONTENT_TYPE)

    @api.get("/models/<version>/anchor")
    def anchor(version: str) -> Response:
        found = None
        if version.isdecimal() and len(version) < 10:
            with coordinator.database.reading() as connection:
                found = encoded_anchor(connection, int(version))
        if found is None:
            raise RequestRefusedError(RefusalReason.UNKNOWN_MODEL, "no sums have made an anchor for this version")
        return Response(found, content_type=wire.CONTENT_TYPE)

    @api.get("/releases/<name>")
    def release(name: str) -> Response:
        content = coordinator.publisher.file(name) if coordinator.publisher is not None else None
        if content is None:  # every device asks for the root after its own: nothing that an operator has to see
            return _refused(Refusal(reason=RefusalReason.UNKNOWN_MODEL, message="no such release metadata"))
        return Response(content, content_type=JSON)

    @api.get("/health")
    def health() -> Response:
        current = coordinator.models.current()
        return Response(msgspec.json.encode({"status": "ok", "model_version": current.version}), content_type=JSON)

    return api


def install_error_answers(app: Flask) -> None:
    """Turn every error of any call into a ``Refusal``; nothing of the request is echoed or logged."""

    @app.errorhandler(RequestRefusedError)
    def refused(error: RequestRefusedError) -> Response:
        return _refusal(error.reason, error.message)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            return _refusal(RefusalReason.TOO_LARGE, "the request is larger than this call accepts")
        if error.code == 503:
            return _refusal(RefusalReason.UNAVAILABLE, "busy: try again later")
        return _refusal(RefusalReason.MALFORMED, "no such call: see the device API for paths and methods")

    @app.errorhandler(Exception)
    def internal_error(error: Exception) -> Response:
        log_failure(Event.INTERNAL_ERROR, error)
        return _refusal(RefusalReason.UNAVAILABLE, "the coordinator failed on this request: try again later")


def _catch_up(coordinator: Coordinator) -> None:
    """Close what is overdue when no ticker thread does."""
    if not coordinator.ticking and coordinator.driver.due(coordinator.clock()):
        coordinator.wake()


def _signed_body(limit_bytes: int) -> tuple[SignedMessage, int]:
    kind = (request.mimetype or wire.CONTENT_TYPE).lower()
    if kind not in (wire.CONTENT_TYPE, JSON):
        raise RequestRefusedError(RefusalReason.MALFORMED, f"the Content-Type must be {wire.CONTENT_TYPE}")
    limit = min(limit_bytes * (2 if kind == JSON else 1), wire.LARGEST_MESSAGE_BYTES)
    if request.content_length is not None and request.content_length > limit:
        raise RequestRefusedError(RefusalReason.TOO_LARGE, f"this call accepts at most {limit} bytes")
    request.max_content_length = limit
    body = request.get_data(cache=False)
    if len(body) < (request.content_length or 0):  # the connection ended first: nothing is wrong with the message
        raise RequestRefusedError(RefusalReason.UNAVAILABLE, "the request ended early: send it again")
    if len(body) > limit:
        raise RequestRefusedError(RefusalReason.TOO_LARGE, f"this call accepts at most {limit} bytes")
    decode: Callable[..., SignedMessage] = wire.decode_json if kind == JSON else wire.decode
    try:
        return decode(body, SignedMessage, limit_bytes=limit), len(body)
    except MessageTooLarge as error:
        raise RequestRefusedError(RefusalReason.TOO_LARGE, str(error)) from None
    except MalformedMessage as error:
        raise RequestRefusedError(RefusalReason.MALFORMED, str(error)) from None


def _answer(encoded: bytes, kind: object) -> Response:
    if _wants_json():
        return Response(wire.encode_json(wire.decode(encoded, kind)), content_type=JSON)
    return Response(encoded, content_type=wire.CONTENT_TYPE)


def _wants_json() -> bool:
    """Devices say nothing about types; whoever debugs says so."""
    said = request.environ.get("CONTENT_TYPE") or request.environ.get("HTTP_ACCEPT")
    return bool(said) and (request.mimetype == JSON or request.accept_mimetypes.best == JSON)


def _refusal(reason: RefusalReason, message: str) -> Response:
    log_event(Event.REFUSED, reason=_REASON_NUMBER[reason], status=STATUS[reason])
    return _refused(Refusal(reason=reason, message=message))


def _refused(refusal: Refusal) -> Response:
    status = STATUS[refusal.reason]
    if _wants_json():
        return Response(wire.encode_json(refusal), status=status, content_type=JSON)
    return Response(wire.encode(refusal), status=status, content_type=wire.CONTENT_TYPE)


def _session(text: str) -> str:
    if not _SESSION.fullmatch(text):
        raise RequestRefusedError(RefusalReason.UNKNOWN_SESSION, "a session id has 16 hexadecimal digits")
    return text


def _phase(text: str) -> Phase:
    try:
        return Phase(text)
    except ValueError:
        raise RequestRefusedError(RefusalReason.MALFORMED, "no such phase") from None


def _wait_s() -> float:
    text = request.args.get("wait", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise RequestRefusedError(RefusalReason.MALFORMED, "?wait= must be a whole number of seconds")
    return float(text)


def _device() -> bytes:
    text = request.args.get("device", "")
    if not _DEVICE.fullmatch(text):
        raise RequestRefusedError(
            RefusalReason.MALFORMED, f"?device= must be the device's fingerprint, {2 * FINGERPRINT_BYTES} hex digits"
        )
    return bytes.fromhex(text)
