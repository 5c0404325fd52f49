"""The local log: impressions and line tallies of one device, on SQLite."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from data_logging.errors import LogBusyError, LogRecovered, UnknownRowError
from data_logging.queries import first_row
from data_logging.records import Impression, LoggedImpression, Outcome, UsageCount
from data_logging.redaction import redact
from data_logging.schema import SCHEMA_VERSION
from data_logging.storage import Storage

_DAY_S = 86_400.0

_COLUMNS = (
    "created_at, conversation, context, candidate, category, baseline_score, features, score, slot, shown, explored, "
    "propensity, model_version, arm, entity_types"
)
_INSERT = (
    f"INSERT INTO impressions ({_COLUMNS}, outcome, resolved_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COUNT_LINE = """
    INSERT INTO line_tallies (arm, model_version, day, lines) VALUES (?, ?, ?, 1)
    ON CONFLICT (arm, model_version, day) WHERE claimed_by IS NULL AND reported_round IS NULL
    DO UPDATE SET lines = lines + 1
"""


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What the log holds, for a person who asks."""

    impressions: int
    shown: int
    tapped: int
    lines: int
    """Lines counted and not expired, reported or not."""
    unreported: int
    """Impressions no secure sum has counted yet."""
    oldest: float | None
    newest: float | None
    """Unix times in seconds of the oldest and newest impression; None when there is none."""
    size_bytes: int
    enabled: bool


class ImpressionLog:
    """Impressions and line tallies of one device. Safe to share between threads; nothing in it ever leaves the device.

    Parameters
    ----------
    path
        The SQLite file; made with its folder when absent. A damaged file is set aside, see :attr:`recovered`.
    clock
        Unix time in seconds.
    retention_days
        Rows older than this are deleted when the log is opened, then once a day of writing; > 0.
    timeout_s
        How long to wait for another process that writes.

    Raises
    ------
    LogUnavailableError
        When the file cannot be opened or written.
    LogTooNewError
        When a newer program wrote it.
    """

    def __init__(
        self,
        path: Path | str,
        clock: Callable[[], float] = time.time,
        retention_days: float = 60.0,
        *,
        timeout_s: float = 5.0,
    ) -> None:
        if not retention_days > 0:
            raise ValueError("retention_days must be above 0")
        self.clock = clock
        self.retention_days = retention_days
        self._storage = Storage(Path(path), timeout_s)
        self.deletions = self._storage.run(_deletions)
        """Goes up whenever rows were deleted: whoever keeps figures of the log starts over. Deletions by another
        process are noticed with the next line."""
        self._expiry_due = 0.0
        self._expire_daily()

    @property
    def path(self) -> Path:
        """The log's file."""
        return self._storage.path

    @property
    def recovered(self) -> LogRecovered | None:
        """Set when a damaged file was set aside since this object was made (until :meth:`erase`)."""
        return self._storage.recovered

    def close(self) -> None:
        """Close the connections of this process. The object stays usable."""
        self._storage.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def record(self, impression: Impression, outcome: Outcome = Outcome.PENDING) -> int | None:
        """Store one impression, its texts redacted.

        Returns
        -------
        int | None
            The row's id; None when the person has switched logging off.
        """
        row = self._row(impression, outcome)

        def insert(db: Database) -> int | None:
            return db.execute(_INSERT, row).lastrowid if _enabled(db) else None

        stored = self._storage.write(insert)
        self._expire_daily()
        return stored

    def resolve(self, impression_id: int, outcome: Outcome) -> None:
        """Say what became of an impression.

        Raises
        ------
        UnknownRowError
            When there is no such row (deleted or expired meanwhile).
        """
        now = self.clock()

        def update(db: Database) -> int:
            return db.execute(
                "UPDATE impressions SET outcome = ?, resolved_at = ? WHERE id = ?", (outcome.value, now, impression_id)
            ).rowcount

        if not self._storage.write(update):
            raise UnknownRowError(f"The local log has no row {impression_id}.")

    def count_line(self, arm: str, model_version: int) -> None:
        """Count one sent line under the arm and model version it was ranked with."""
        self.finish_line(arm, model_version, None)

    def finish_line(
        self,
        arm: str,
        model_version: int,
        impression: Impression | None,
        outcome: Outcome = Outcome.PENDING,
    ) -> int | None:
        """Count one sent line and store its impression, if there is one, in a single transaction.

        Returns
        -------
        int | None
            The impression's id; None without an impression or when logging is off.
        """
        row = None if impression is None else self._row(impression, outcome)
        line = (arm, model_version, int(self.clock() // _DAY_S))

        def insert(db: Database) -> int | None:
            self.deletions = _deletions(db)
            if not _enabled(db):
                return None
            db.execute(_COUNT_LINE, line)
            return None if row is None else db.execute(_INSERT, row).lastrowid

        stored = self._storage.write(insert)
        self._expire_daily()
        return stored

    def _row(self, impression: Impression, outcome: Outcome) -> tuple[Any, ...]:
        return (
            impression.created_at,
            impression.conversation,
            redact(impression.context),
            redact(impression.candidate),
            impression.category,
            impression.baseline_score,
            json.dumps([float(feature) for feature in impression.features]),
            impression.score,
            impression.slot,
            int(impression.shown),
            int(impression.explored),
            impression.propensity,
            impression.model_version,
            impression.arm,
            json.dumps(impression.entity_types),
            outcome.value,
            None if outcome is Outcome.PENDING else self.clock(),
        )

    # -- reading ---------------------------------------------------------------------------------------------------

    def impressions(
        self,
        *,
        since: float | None = None,
        outcomes: Collection[Outcome] | None = None,
        claimed_by: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[LoggedImpression]:
        """Rows of the log, oldest first unless asked otherwise.

        Parameters
        ----------
        since
            Only rows created at this Unix time or later.
        outcomes
            Only rows with one of these outcomes.
        claimed_by
            Only rows that :meth:`usage_unreported` counted for this session.
        newest_first, limit
            Order and largest number of rows.
        """
        conditions, values = ["1"], list[Any]()
        if since is not None:
            conditions.append("created_at >= ?")
            values.append(since)
        if outcomes is not None:
            conditions.append(f"outcome IN ({', '.join('?' * len(outcomes))})")
            values += [outcome.value for outcome in outcomes]
        if claimed_by is not None:
            conditions.append("claimed_by = ?")
            values.append(claimed_by)
        order = "DESC" if newest_first else "ASC"
        values.append(-1 if limit is None else limit)
        sql = (
            f"SELECT id, {_COLUMNS}, outcome, resolved_at, reported_round FROM impressions "
            f"WHERE {' AND '.join(conditions)} ORDER BY id {order} LIMIT ?"
        )
        return [_logged(row) for row in self._storage.run(lambda db: db.execute(sql, values).fetchall())]

    def summary(self) -> LogSummary:
        """How much the log holds, and since when."""

        def count(db: Database) -> LogSummary:
            row = first_row(
                db,
                "SELECT count(*), coalesce(sum(shown), 0), coalesce(sum(outcome = 'tapped'), 0), "
                "coalesce(sum(reported_round IS NULL), 0), min(created_at), max(created_at) FROM impressions",
            )
            lines = first_row(db, "SELECT coalesce(sum(lines), 0) FROM line_tallies")[0]
            pages, page_bytes = (first_row(db, f"PRAGMA {what}")[0] for what in ("page_count", "page_size"))
            return LogSummary(
                impressions=row[0],
                shown=row[1],
                tapped=row[2],
                lines=lines,
                unreported=row[3],
                oldest=row[4],
                newest=row[5],
                size_bytes=pages * page_bytes,
                enabled=_enabled(db),
            )

        return self._storage.run(count)

    def export(self) -> dict[str, Any]:
        """Everything the log holds, ready for ``json.dumps``: impressions, line tallies, settings."""

        def tallies(db: Database) -> list[dict[str, Any]]:
            return list(db.query("SELECT arm, model_version, day, lines, reported_round FROM line_tallies ORDER BY id"))

        return {
            "schema_version": SCHEMA_VERSION,
            "exported_at": self.clock(),
            "retention_days": self.retention_days,
            "logging": self.enabled,
            "impressions": [
                {"id": row.id}
                | asdict(row.impression)
                | {"outcome": row.outcome.value, "resolved_at": row.resolved_at, "reported_round": row.reported_round}
                for row in self.impressions()
            ],
            "line_tallies": self._storage.run(tallies),
        }

    # -- what a round counts ---------------------------------------------------------------------------------------

    def usage_unreported(self, session: str | None = None) -> list[UsageCount]:
        """Lines, offers and clicks that no secure sum has counted yet, by arm and model version.

        Parameters
        ----------
        session
            Name of the round that is going to count them. The rows are then claimed for it, so that
            :meth:`mark_reported` marks exactly these, whatever is typed meanwhile. Claims of earlier sessions that
            were never marked (an abandoned round) are taken over. Without a name this only looks.

        Returns
        -------
        list[UsageCount]
            Sorted by arm and version; only those with something to count.
        """
        if session is None:
            return self._storage.run(_usage)

        def claim(db: Database) -> list[UsageCount]:
            db.execute(
                "UPDATE impressions SET claimed_by = ? WHERE reported_round IS NULL AND outcome != 'pending'",
                (session,),
            )
            db.execute("UPDATE line_tallies SET claimed_by = ? WHERE reported_round IS NULL", (session,))
            return _usage(db)

        return self._storage.write(claim)

    def usage_reported(self) -> list[UsageCount]:
        """Lines, offers and clicks that secure sums have counted already, as far as they have not expired.

        By arm and model version, sorted.
        """
        return self._storage.run(lambda db: _usage(db, "reported_round IS NOT NULL"))

    def mark_reported(self, session: str) -> None:
        """Note that the secure sum of ``session`` has counted what was claimed for it: it is never counted again.

        What :meth:`usage_unreported` did not claim for the session is left alone.
        """

        def mark(db: Database) -> None:
            for table in ("impressions", "line_tallies"):
                db.execute(
                    f"UPDATE {table} SET reported_round = claimed_by WHERE reported_round IS NULL AND claimed_by = ?",
                    (session,),
                )

        self._storage.write(mark)

    # -- what the person can do ------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """False after the person switched logging off; kept in the file."""
        return self._storage.run(_enabled)

    def set_enabled(self, enabled: bool) -> None:
        """Switch logging on or off. What is there stays until it is erased or expires."""
        value = "on" if enabled else "off"

        def store(db: Database) -> None:
            db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES ('logging', ?)", (value,))

        self._storage.write(store)

    def delete(self, impression_id: int) -> None:
        """Delete one impression, and its bytes from the file.

        Raises
        ------
        UnknownRowError
            When there is no such row.
        LogBusyError
            When another process reads the log: the row is deleted, its bytes go with the next deletion.
        """

        def remove(db: Database) -> int:
            self.deletions = _count_deletion(db)
            return db.execute("DELETE FROM impressions WHERE id = ?", (impression_id,)).rowcount

        if not self._storage.write(remove):
            raise UnknownRowError(f"The local log has no row {impression_id}.")
        self._storage.scrub()

    def erase(self) -> int:
        """Delete everything, damaged files that were set aside included, and the bytes from the disk's files.

        Settings stay. Returns the number of impressions deleted.

        Raises
        ------
        LogBusyError
            As for :meth:`delete`.
        """

        def remove(db: Database) -> int:
            rows = db.execute("DELETE FROM impressions").rowcount
            db.execute("DELETE FROM line_tallies")
            self.deletions = _count_deletion(db)
            return rows

        rows = self._storage.write(remove)
        self._storage.remove_set_aside()
        self._storage.scrub()
        return rows

    def expire(self) -> int:
        """Delete what is older than ``retention_days``; returns the number of impressions deleted."""
        oldest = self.clock() - self.retention_days * _DAY_S
        day = int(oldest // _DAY_S)

        def due(db: Database) -> bool:
            found = first_row(
                db,
                "SELECT EXISTS (SELECT 1 FROM impressions WHERE created_at < ?) "
                "OR EXISTS (SELECT 1 FROM line_tallies WHERE day < ?)",
                (oldest, day),
            )
            return bool(found[0])

        def remove(db: Database) -> int:
            rows = db.execute("DELETE FROM impressions WHERE created_at < ?", (oldest,)).rowcount
            db.execute("DELETE FROM line_tallies WHERE day < ?", (day,))
            self.deletions = _count_deletion(db)
            return rows

        if not self._storage.run(due):
            return 0
        rows = self._storage.write(remove)
        self._storage.scrub()
        return rows

    def _expire_daily(self) -> None:
        now = self.clock()
        if now < self._expiry_due:
            return
        self._expiry_due = now + _DAY_S
        with contextlib.suppress(LogBusyError):  # the rows are deleted; their bytes go with the next deletion
            self.expire()


def _enabled(db: Database) -> bool:
    row = first_row(db, "SELECT value FROM settings WHERE name = 'logging'")
    return row is None or row[0] != "off"


def _deletions(db: Database) -> int:
    row = first_row(db, "SELECT value FROM settings WHERE name = 'deletions'")
    return 0 if row is None else int(row[0])


def _count_deletion(db: Database) -> int:
    count = _deletions(db) + 1
    db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES ('deletions', ?)", (str(count),))
    return count


def _usage(db: Database, which: str = "reported_round IS NULL") -> list[UsageCount]:
    rows = db.execute(
        f"""
        SELECT arm, model_version, sum(lines), sum(offers), sum(clicks) FROM (
            SELECT arm, model_version, 0 AS lines, shown AS offers, outcome = 'tapped' AS clicks
            FROM impressions WHERE {which} AND outcome != 'pending'
            UNION ALL
            SELECT arm, model_version, lines, 0, 0 FROM line_tallies WHERE {which}
        ) GROUP BY arm, model_version HAVING sum(lines) + sum(offers) + sum(clicks) > 0
        ORDER BY arm, model_version
        """
    ).fetchall()
    return [UsageCount(*row) for row in rows]


def _logged(row: tuple[Any, ...]) -> LoggedImpression:
    (identity, created_at, conversation, context, candidate, category, baseline, features, score, slot) = row[:10]
    (shown, explored, propensity, model_version, arm, entity_types, outcome, resolved_at, reported_round) = row[10:]
    impression = Impression(
        created_at=created_at,
        conversation=conversation,
        context=context,
        candidate=candidate,
        category=category,
        baseline_score=baseline,
        features=tuple(json.loads(features)),
        score=score,
        slot=slot,
        shown=bool(shown),
        explored=bool(explored),
        propensity=propensity,
        model_version=model_version,
        arm=arm,
        entity_types=tuple(json.loads(entity_types)),
    )
    return LoggedImpression(identity, impression, Outcome(outcome), resolved_at, reported_round)
