"""Whose certificates this coordinator accepts, and the authority's trust list it passes on to devices."""

from __future__ import annotations

import threading
from pathlib import Path

from coordinator.errors import SettingsError
from coordinator.settings import Settings
from federated_protocol.errors import TrustListRejected
from federated_protocol.trust import TrustStore


class Trust:
    """The authority keys of the settings, and the trust list of the settings on top, re-read when it changes.

    Raises
    ------
    SettingsError
        when the list cannot be read at the start, or was not signed by an authority key of the settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.trust_list) if settings.trust_list else None
        self._lock = threading.Lock()
        self._store = TrustStore.pinned(*settings.authority_keys)
        self._encoded = b""
        self._seen: tuple[int, int] | None = None
        if self._path is not None and not self._path.is_file():
            raise SettingsError(
                f"trust_list: {self._path} is no file: write it with `authority trust`, or leave it out"
            )

    def current(self, now: float) -> TrustStore:
        """What counts at ``now`` (Unix seconds); a changed list takes effect at once, a bad one not at all."""
        if self._path is None:
            return self._store
        with self._lock:
            try:
                status = self._path.stat()
                seen = (status.st_mtime_ns, status.st_size)
                if seen != self._seen:
                    data = self._path.read_bytes()
                    self._store = self._store.accept(data, now)
                    self._seen, self._encoded = seen, data
            except (OSError, TrustListRejected):
                pass  # the list in force stays in force until its own end
            return self._store

    def encoded(self) -> bytes:
        """The list in force as it travels; empty where there is none."""
        return self._encoded
