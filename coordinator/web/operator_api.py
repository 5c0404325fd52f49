"""What operators decide: sign in, roll out, roll back, pause. Every call that changes something needs a session.

Protection against forged requests: the session cookie is ``SameSite=Strict``, and each change carries the session's
token in ``X-CSRF-Token``, which no other site can read. Sign-in attempts are throttled by account and by address.
"""

from __future__ import annotations

import hmac
import threading
from collections import deque
from typing import TypeVar

import msgspec
from flask import Blueprint, Response, request

from coordinator.errors import ReleaseError, RequestRefusedError
from coordinator.operation import api_description
from coordinator.operation.accounts import Accounts, Role, Session
from coordinator.operation.audit import newest_entries
from coordinator.operation.health import readiness
from coordinator.operation.model_card import model_card
from coordinator.operation.operator_messages import (
    ReleasesState,
    RolloutChange,
    RolloutState,
    SessionState,
    SignIn,
)
from coordinator.operation.population import check_ins_by_hour
from coordinator.releases.rollout import all_rollouts, pause_rounds, roll_back, rounds_paused, set_percent
from coordinator.rounds.deployment import tasks_of
from coordinator.rounds.stopping import stop_rounds
from coordinator.service import Coordinator
from coordinator.web.access import COOKIE, signed_in
from federated_protocol import wire
from federated_protocol.errors import MalformedMessage
from federated_protocol.messages import RefusalReason

T = TypeVar("T", bound=msgspec.Struct)
JSON = "application/json"
ATTEMPTS_A_MINUTE = 10
LONGEST_BODY = 4096
MOST_ADDRESSES = 10_000
DAYS_SHOWN = 7


class AddressThrottle:
    """At most so many sign-in attempts a minute from one address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[str, deque[float]] = {}

    def admits(self, address: str, now: float) -> bool:
        """Count an attempt; False when there were too many."""
        with self._lock:
            if len(self._attempts) > MOST_ADDRESSES:
                self._attempts.clear()
            recent = self._attempts.setdefault(address, deque())
            while recent and recent[0] < now - 60:
                recent.popleft()
            if len(recent) >= ATTEMPTS_A_MINUTE:
                return False
            recent.append(now)
            return True


def operator_api(coordinator: Coordinator) -> Blueprint:
    """The blueprint of sessions, decisions, and reports about them."""
    api = Blueprint("operator_api", __name__)
    accounts = Accounts(coordinator.database)
    throttle = AddressThrottle()
    first_percent = coordinator.settings.releases.rollout_stages[0]

    def deciding() -> Session:
        """The operator behind a change, or a refusal."""
        session = signed_in(coordinator)
        if session is None:
            raise RequestRefusedError(RefusalReason.NOT_ENROLLED, "sign in first")
        if not session.csrf or not _same(request.headers.get("X-CSRF-Token", ""), session.csrf):
            raise RequestRefusedError(RefusalReason.BAD_SIGNATURE, "the X-CSRF-Token is missing or wrong: reload")
        if session.role is not Role.OPERATOR:
            raise RequestRefusedError(RefusalReason.NOT_A_PARTICIPANT, "this account may look, not decide")
        return session

    @api.get("/admin/session")
    def session() -> Response:
        found = signed_in(coordinator)
        return _json(SessionState() if found is None else SessionState(found.account, found.role.value, found.csrf))

    @api.post("/admin/session")
    def sign_in() -> Response:
        _from_here()
        wanted = _body(SignIn)
        now = coordinator.clock()
        if not throttle.admits(request.remote_addr or "", now):
            raise RequestRefusedError(RefusalReason.UNAVAILABLE, "too many attempts: wait a minute")
        cookie = accounts.sign_in(wanted.account, wanted.password, now)
        if cookie is None:
            raise RequestRefusedError(
                RefusalReason.NOT_ENROLLED,
                "account or password is wrong, or the account is closed for a while after too many attempts",
            )
        response = Response(status=204)
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", secure=request.is_secure, path="/")
        return response

    @api.delete("/admin/session")
    def sign_out() -> Response:
        found = signed_in(coordinator)
        if found is not None and _same(request.headers.get("X-CSRF-Token", ""), found.csrf):
            accounts.sign_out(request.cookies.get(COOKIE, ""))
        response = Response(status=204)
        response.delete_cookie(COOKIE, path="/", samesite="Strict")
        return response

    @api.get("/admin/releases")
    def releases() -> Response:
        with coordinator.database.reading() as connection:
            found = sorted(all_rollouts(connection, first_percent).values(), key=lambda rollout: -rollout.version)
            paused = rounds_paused(connection)
        return _json(
            ReleasesState(paused, tuple(RolloutState(r.version, r.state, r.percent, r.arms, r.reason) for r in found))
        )

    @api.post("/admin/models/<int:version>/rollout")
    def rollout(version: int) -> Response:
        actor, change, now = deciding().account, _body(RolloutChange), coordinator.clock()
        with _explaining(), coordinator.database.writing() as connection:
            set_percent(connection, version, change.percent, change.arms, now=now, actor=actor, reason="operator")
        return releases()

    @api.post("/admin/models/<int:version>/rollback")
    def rollback(version: int) -> Response:
        actor, now = deciding().account, coordinator.clock()
        with _explaining(), coordinator.database.writing() as connection:
            roll_back(connection, version, now=now, actor=actor, reason="operator")
        return releases()

    @api.post("/admin/pause")
    def pause() -> Response:
        actor, now = deciding().account, coordinator.clock()
        with coordinator.database.writing() as connection:
            pause_rounds(connection, True, now=now, actor=actor)
        return releases()

    @api.post("/admin/stop")
    def stop() -> Response:
        actor, now = deciding().account, coordinator.clock()
        with coordinator.database.writing() as connection:
            pause_rounds(connection, True, now=now, actor=actor)
            stop_rounds(connection, tasks_of(coordinator.settings), now=now, actor=actor)
        return releases()

    @api.post("/admin/resume")
    def resume() -> Response:
        actor, now = deciding().account, coordinator.clock()
        with coordinator.database.writing() as connection:
            pause_rounds(connection, False, now=now, actor=actor)
        return releases()

    @api.get("/admin/models/<int:version>/card")
    def card(version: int) -> Response:
        with _explaining():
            return _json(model_card(coordinator.database, coordinator.settings, version))

    @api.get("/admin/population")
    def population() -> Response:
        coordinator.population.flush(coordinator.clock())
        since = int(coordinator.clock() // 3600) - 24 * DAYS_SHOWN
        with coordinator.database.reading() as connection:
            return _json(check_ins_by_hour(connection, since))

    @api.get("/admin/audit")
    def audit() -> Response:
        with coordinator.database.reading() as connection:
            return _json(newest_entries(connection))

    @api.get("/v1/ready")
    def ready() -> Response:
        found = readiness(coordinator)
        response = _json(found)
        response.status_code = 200 if found.ready else 503
        return response

    @api.get("/v1/openapi.json")
    def device_description() -> Response:
        return _json(api_description.describe("Device API", api_description.DEVICE_CALLS))

    @api.get("/admin/openapi.json")
    def admin_description() -> Response:
        return _json(api_description.describe("Admin API", api_description.ADMIN_CALLS))

    return api


class _explaining:  # noqa: N801 - reads as a word
    """Turn a :class:`ReleaseError` into a refusal with its message, which names versions and nothing else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ReleaseError):
            raise RequestRefusedError(RefusalReason.WRONG_PHASE, str(error)) from None


def _from_here() -> None:
    """Refuse a sign-in that another site's page sends."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise RequestRefusedError(RefusalReason.BAD_SIGNATURE, "sign in from the coordinator's own page")


def _body(kind: type[T]) -> T:
    if request.mimetype != JSON or (request.content_length or 0) > LONGEST_BODY:
        raise RequestRefusedError(RefusalReason.MALFORMED, "a small JSON body is expected")
    request.max_content_length = LONGEST_BODY
    try:
        return wire.decode_json(request.get_data(cache=False), kind)
    except MalformedMessage:
        raise RequestRefusedError(RefusalReason.MALFORMED, "the body is not what this call takes") from None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _json(report: object) -> Response:
    response = Response(msgspec.json.encode(report), content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response
