"""A long computation on a round belongs to one process at a time, and to another one soon after that process died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coordinator.events import Event, log_failure
from coordinator.storage import Database, round_store
from coordinator.storage.round_store import Round

LEASE_S = 6.0
"""How long after the death of a process others wait before they do its work."""
RENEWALS = 3
"""In the time of one lease."""


@contextmanager
def held(
    database: Database,
    row: Round,
    holder: str,
    now: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Renew a lease that ``holder`` took at ``now`` (Unix seconds) until the block is left.

    A renewal that fails is tried again; should the lease run out meanwhile, another process computes the same and one
    of them moves the round.
    """
    begun = monotonic()
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_S / RENEWALS):
            try:
                with database.writing() as connection:
                    round_store.take_lease(connection, row, holder, now + monotonic() - begun, LEASE_S)
            except Exception as error:
                log_failure(Event.TICK_FAILED, error)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
