"""Accounts of operators: scrypt passwords, sessions by a random cookie, a token against forged requests, throttling.

Roles: a ``viewer`` reads, an ``operator`` also decides (rollout, rollback, pause). Accounts are made on the command
line only. The database holds digests: whoever reads it can neither sign in nor take a session over.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from coordinator.errors import CoordinatorError
from coordinator.operation.audit import COMMAND_LINE, record
from coordinator.storage import Database
from coordinator.storage.tables import account_sessions, accounts

SESSION_S = 8 * 3600.0
FREE_FAILURES = 5
"""Wrong passwords before an account closes, first for 30 s, then twice as long each time, at most an hour."""
SHORTEST_PASSWORD = 12
TOKEN_DAYS = 90.0
_SALT_BYTES = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_NOBODY = b"\0" * _SALT_BYTES


class AccountError(CoordinatorError):
    """An account cannot be made or used; the message says what to do."""


class Role(enum.StrEnum):
    """What an account may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who signed in."""

    account: str
    role: Role
    csrf: str
    """Every request that changes something carries it in the header ``X-CSRF-Token``."""


class Accounts:
    """The accounts of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, role: Role, password: str, now: float) -> None:
        """Make an account, or give an existing one a new password and role; its sessions end.

        Raises
        ------
        AccountError
            for a name or password that will not do.
        """
        if not _NAME.fullmatch(name):
            raise AccountError("an account's name has up to 32 lower-case letters, digits, dots or dashes")
        if len(password) < SHORTEST_PASSWORD:
            raise AccountError(f"a password has at least {SHORTEST_PASSWORD} characters")
        salt = secrets.token_bytes(_SALT_BYTES)
        values = {"role": role.value, "password": salt + _stretch(password, salt), "failures": 0, "closed_until": 0.0}
        with self._database.writing() as connection:
            connection.execute(delete(account_sessions).where(account_sessions.c.account == name))
            if not connection.execute(update(accounts).where(accounts.c.name == name).values(**values)).rowcount:
                connection.execute(insert(accounts).values(name=name, created_at=now, **values))
            record(connection, now, COMMAND_LINE, "account", f"{name} is {role.value}")

    def remove(self, name: str, now: float) -> None:
        """Delete an account and its sessions; raises :class:`AccountError` when there is none."""
        with self._database.writing() as connection:
            connection.execute(delete(account_sessions).where(account_sessions.c.account == name))
            if not connection.execute(delete(accounts).where(accounts.c.name == name)).rowcount:
                raise AccountError("there is no such account: see `coordinator accounts list`")
            record(connection, now, COMMAND_LINE, "account", f"{name} removed")

    def all(self) -> list[tuple[str, str]]:
        """Names and roles."""
        with self._database.reading() as connection:
            query = select(accounts.c.name, accounts.c.role).order_by(accounts.c.name)
            return [(name, role) for name, role in connection.execute(query)]

    def sign_in(self, name: str, password: str, now: float) -> str | None:
        """The cookie of a new session, or None: wrong, unknown or closed, which takes the same time to find out."""
        with self._database.reading() as connection:
            row = connection.execute(select(accounts).where(accounts.c.name == name)).one_or_none()
        stored = row.password if row is not None else _NOBODY
        right = hmac.compare_digest(_stretch(password, stored[:_SALT_BYTES]), stored[_SALT_BYTES:])
        if row is None or now < row.closed_until:
            return None
        with self._database.writing() as connection:
            if not right:
                self._failed(connection, name, now)
                return None
            connection.execute(update(accounts).where(accounts.c.name == name).values(failures=0, closed_until=0.0))
            connection.execute(delete(account_sessions).where(account_sessions.c.expires_at < now))
            cookie = secrets.token_urlsafe(32)
            connection.execute(
                insert(account_sessions).values(
                    token=_digest(cookie), account=name, csrf=secrets.token_urlsafe(24), expires_at=now + SESSION_S
                )
            )
            record(connection, now, name, "sign in", "")
        return cookie

    def session(self, cookie: str, now: float) -> Session | None:
        """Who a cookie belongs to, while it lasts."""
        query = (
            select(accounts.c.name, accounts.c.role, account_sessions.c.csrf)
            .join(accounts, accounts.c.name == account_sessions.c.account)
            .where(account_sessions.c.token == _digest(cookie), account_sessions.c.expires_at > now)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Session(row.name, Role(row.role), row.csrf)

    def issue_token(self, name: str, now: float, days: float = TOKEN_DAYS) -> str:
        """A bearer token with which a script reads reports as ``name``; it decides nothing, and ends with the account.

        Raises
        ------
        AccountError
            when there is no such account.
        """
        token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            if connection.scalar(select(accounts.c.name).where(accounts.c.name == name)) is None:
                raise AccountError("there is no such account: see `coordinator accounts list`")
            values = {"token": _digest(token), "account": name, "csrf": "", "expires_at": now + 86_400.0 * days}
            connection.execute(insert(account_sessions).values(**values))
            record(connection, now, COMMAND_LINE, "token", f"{name} may read for {days:g} days")
        return token

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        with self._database.writing() as connection:
            connection.execute(delete(account_sessions).where(account_sessions.c.token == _digest(cookie)))

    def _failed(self, connection: Connection, name: str, now: float) -> None:
        count = (connection.scalar(select(accounts.c.failures).where(accounts.c.name == name)) or 0) + 1
        wait = 0.0 if count < FREE_FAILURES else min(30.0 * 2 ** min(count - FREE_FAILURES, 10), 3600.0)
        values = {"failures": count, "closed_until": now + wait if wait else 0.0}
        connection.execute(update(accounts).where(accounts.c.name == name).values(**values))


def _stretch(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8"), salt=salt, n=2**14, r=8, p=1, maxmem=2**26)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8")).digest()
