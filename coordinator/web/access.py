"""Who may read what: reports and pages' data need somebody who signed in, or a reader's token.

Open to all are the pages themselves (they hold nothing until somebody signed in), signing in, the descriptions of the
APIs, health, readiness, and metrics, which a scraper asks for. ``operators.public_reports`` opens the rest for reading.
"""

from __future__ import annotations

from flask import Flask, request

from coordinator.errors import RequestRefusedError
from coordinator.operation.accounts import Accounts, Session
from coordinator.service import Coordinator
from federated_protocol.messages import RefusalReason

COOKIE = "coordinator_session"
GUARDED = "/admin/"
OPEN = frozenset(("/admin/session", "/admin/openapi.json"))
_BEARER = "Bearer "


def signed_in(coordinator: Coordinator) -> Session | None:
    """Who sent this request with a session cookie."""
    cookie = request.cookies.get(COOKIE, "")
    return Accounts(coordinator.database).session(cookie, coordinator.clock()) if cookie else None


def may_read(coordinator: Coordinator) -> bool:
    """Whether this request may see reports: open to all, a session, or a token in ``Authorization: Bearer``."""
    if coordinator.settings.operators.public_reports:
        return True
    given = request.headers.get("Authorization", "")
    token = given.removeprefix(_BEARER) if given.startswith(_BEARER) else ""
    if token and Accounts(coordinator.database).session(token, coordinator.clock()) is not None:
        return True
    return signed_in(coordinator) is not None


def guard_reports(app: Flask, coordinator: Coordinator) -> None:
    """Refuse every call under ``/admin/`` from nobody in particular."""

    @app.before_request
    def look() -> None:
        if request.path.startswith(GUARDED) and request.path not in OPEN and not may_read(coordinator):
            raise RequestRefusedError(
                RefusalReason.NOT_ENROLLED, "sign in on the dashboard, or send a token of `coordinator accounts token`"
            )
