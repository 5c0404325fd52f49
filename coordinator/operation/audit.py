"""Who decided what, when: every change an operator or the steward makes, in the transaction that makes it."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select

from coordinator.storage.tables import audit_log

AUTOMATIC = "automatic"
COMMAND_LINE = "command line"


class AuditEntry(msgspec.Struct, frozen=True):
    """One decision."""

    at: float
    actor: str
    """An operator's account, ``command line`` or ``automatic``."""
    action: str
    detail: str


def record(connection: Connection, now: float, actor: str, action: str, detail: str) -> None:
    """Note a decision. ``detail`` holds names of the program and numbers, nothing a device sent."""
    connection.execute(insert(audit_log).values(at=now, actor=actor[:64], action=action[:32], detail=detail[:200]))


def newest_entries(connection: Connection, limit: int = 200) -> list[AuditEntry]:
    """The newest decisions, newest first."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    return [AuditEntry(row.at, row.actor, row.action, row.detail) for row in connection.execute(query)]
