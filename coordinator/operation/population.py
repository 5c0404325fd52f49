"""How many check-ins an hour, by app version: counts alone, gathered in memory and added to the table now and then.

A killed process loses at most what it counted since the last flush; nobody decides anything by these numbers.
"""

from __future__ import annotations

import threading
from collections import Counter

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from coordinator.storage import Database
from coordinator.storage.tables import check_in_hours

HOURS_KEPT = 24 * 30
MOST_VERSIONS = 50
_PLAIN = frozenset("0123456789.+-abcdefghijklmnopqrstuvwxyz")


class CheckInHour(msgspec.Struct, frozen=True):
    """Check-ins of one hour with one app version."""

    hour: int
    """Unix time / 3600."""
    app_version: str
    count: int


class Population:
    """Counts check-ins; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()
        self.total = 0
        """Check-ins seen by this process."""

    def saw(self, app_version: str, now: float) -> None:
        """Count one check-in. A version that looks like none is counted as ``other``: it came from a device."""
        plain = 0 < len(app_version) <= 16 and _PLAIN.issuperset(app_version)
        with self._lock:
            self.total += 1
            known = {version for _, version in self._counts}
            fits = plain and (app_version in known or len(known) < MOST_VERSIONS)
            self._counts[int(now // 3600), app_version if fits else "other"] += 1

    def flush(self, now: float) -> None:
        """Add what was counted to the table, and forget what is older than a month."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        with self._database.writing() as connection:
            for (hour, version), count in counts.items():
                here = (check_in_hours.c.hour == hour) & (check_in_hours.c.app_version == version)
                change = update(check_in_hours).where(here).values(count=check_in_hours.c.count + count)
                if not connection.execute(change).rowcount:
                    connection.execute(insert(check_in_hours).values(hour=hour, app_version=version, count=count))
            connection.execute(delete(check_in_hours).where(check_in_hours.c.hour < int(now // 3600) - HOURS_KEPT))


def check_ins_by_hour(connection: Connection, since_hour: int = 0) -> list[CheckInHour]:
    """Counts by hour and app version, oldest first."""
    query = (
        select(check_in_hours)
        .where(check_in_hours.c.hour >= since_hour)
        .order_by(check_in_hours.c.hour, check_in_hours.c.app_version)
    )
    return [CheckInHour(hour, version, count) for hour, version, count in connection.execute(query)]
