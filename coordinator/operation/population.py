"""How many check-ins an hour by app version, and how long devices were asked to stay away: sums alone, gathered in
memory and added to the tables now and then. A killed process loses at most what it counted since the last flush.

From the times told follows how many devices are willing at this hour (:meth:`Population.active`), for pace steering.
"""

from __future__ import annotations

import math
import threading
from collections import Counter

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from coordinator.storage import Database
from coordinator.storage.tables import check_in_hours, come_back_hours

HOURS_KEPT = 24 * 30
MOST_VERSIONS = 50
LOOK_AGAIN_S = 60.0
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
        self._told: Counter[int] = Counter()
        self._active = (-math.inf, 0.0)
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

    def told(self, after_s: float, now: float) -> None:
        """Note that a device was asked to stay away for ``after_s`` seconds."""
        with self._lock:
            self._told[int(now // 3600)] += round(1000 * after_s)  # milliseconds: counters count

    def active(self, now: float) -> float:
        """How many devices are willing at this time of day: those on their way back, by Little's law.

        The larger of the last whole hour and the present one so far; looked up once a minute.
        """
        looked_at, found = self._active
        if not looked_at <= now < looked_at + LOOK_AGAIN_S:
            hour = int(now // 3600)
            query = select(come_back_hours.c.hour, come_back_hours.c.told_s).where(come_back_hours.c.hour >= hour - 1)
            with self._database.reading() as connection:
                told = {row.hour: row.told_s for row in connection.execute(query)}
            found = willing(told.get(hour - 1, 0.0), told.get(hour, 0.0), now)
            self._active = now, found
        return found

    def flush(self, now: float) -> None:
        """Add what was counted to the tables, and forget what is older than a month."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            told, self._told = self._told, Counter()
        if not counts and not told:
            return
        with self._database.writing() as connection:
            for (hour, version), count in counts.items():
                here = (check_in_hours.c.hour == hour) & (check_in_hours.c.app_version == version)
                change = update(check_in_hours).where(here).values(count=check_in_hours.c.count + count)
                if not connection.execute(change).rowcount:
                    connection.execute(insert(check_in_hours).values(hour=hour, app_version=version, count=count))
            for hour, milliseconds in told.items():
                seconds = milliseconds / 1000
                there = come_back_hours.c.hour == hour
                more = update(come_back_hours).where(there).values(told_s=come_back_hours.c.told_s + seconds)
                if not connection.execute(more).rowcount:
                    connection.execute(insert(come_back_hours).values(hour=hour, told_s=seconds))
            connection.execute(delete(come_back_hours).where(come_back_hours.c.hour < int(now // 3600) - 48))
            connection.execute(delete(check_in_hours).where(check_in_hours.c.hour < int(now // 3600) - HOURS_KEPT))


def willing(told_last_hour_s: float, told_this_hour_s: float, now: float) -> float:
    """Devices that are away on purpose, from the seconds they were told in the last hour and in this one so far."""
    passed_s = now % 3600
    recent = told_this_hour_s / passed_s if passed_s >= 600 else 0.0
    return max(told_last_hour_s / 3600, recent)


def check_ins_by_hour(connection: Connection, since_hour: int = 0) -> list[CheckInHour]:
    """Counts by hour and app version, oldest first."""
    query = (
        select(check_in_hours)
        .where(check_in_hours.c.hour >= since_hour)
        .order_by(check_in_hours.c.hour, check_in_hours.c.app_version)
    )
    return [CheckInHour(hour, version, count) for hour, version, count in connection.execute(query)]
