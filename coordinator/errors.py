"""Errors of the coordinator; each message says what to do next."""

from __future__ import annotations

from federated_protocol.messages import RefusalReason


class CoordinatorError(Exception):
    """Base of everything the coordinator raises on purpose."""


class SettingsError(CoordinatorError):
    """A setting is missing, of the wrong type or out of range."""


class StorageError(CoordinatorError):
    """The database cannot be used: corrupt, of another schema, or unreachable."""


class ReleaseError(CoordinatorError):
    """A model version cannot be published, or does not belong to this database."""


class RequestRefusedError(CoordinatorError):
    """One request is refused with a named reason; becomes a ``Refusal`` on the wire.

    ``message`` never quotes anything the request carried.
    """

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(f"{reason.value}: {message}")
        self.reason = reason
        self.message = message
