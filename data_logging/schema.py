"""Tables of the local log and the steps that lead to them. docs/local-log.md explains every column.

A step is never changed once released: add the next one and raise nothing but the length of :data:`MIGRATIONS`.
"""

from __future__ import annotations

from sqlite_utils import Database

from data_logging.errors import LogTooNewError
from data_logging.queries import first_row

_VERSION_1 = (
    """
    CREATE TABLE impressions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created_at REAL NOT NULL,
        conversation TEXT NOT NULL,
        context TEXT NOT NULL,
        candidate TEXT NOT NULL,
        category TEXT NOT NULL,
        baseline_score REAL NOT NULL,
        features TEXT NOT NULL,
        score REAL NOT NULL,
        slot INTEGER NOT NULL,
        shown INTEGER NOT NULL CHECK (shown IN (0, 1)),
        explored INTEGER NOT NULL CHECK (explored IN (0, 1)),
        propensity REAL NOT NULL CHECK (propensity > 0 AND propensity <= 1),
        model_version INTEGER NOT NULL,
        arm TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('pending', 'tapped', 'dismissed', 'ignored', 'withheld')),
        resolved_at REAL,
        claimed_by TEXT,
        reported_round TEXT
    ) STRICT
    """,
    "CREATE INDEX impressions_by_time ON impressions (created_at)",
    "CREATE INDEX impressions_unreported ON impressions (arm, model_version) WHERE reported_round IS NULL",
    """
    CREATE TABLE line_tallies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        arm TEXT NOT NULL,
        model_version INTEGER NOT NULL,
        day INTEGER NOT NULL,
        lines INTEGER NOT NULL,
        claimed_by TEXT,
        reported_round TEXT
    ) STRICT
    """,
    """
    CREATE UNIQUE INDEX line_tallies_open ON line_tallies (arm, model_version, day)
    WHERE claimed_by IS NULL AND reported_round IS NULL
    """,
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
)

_VERSION_2 = ("ALTER TABLE impressions ADD COLUMN entity_types TEXT NOT NULL DEFAULT '[]'",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2)
"""Statements that lead from version i to version i + 1."""

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(db: Database) -> None:
    """Bring the tables to :data:`SCHEMA_VERSION`. Call it inside a write transaction.

    Raises
    ------
    LogTooNewError
        If the file has a newer schema than this program knows. Nothing was changed.
    """
    db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    row = first_row(db, "SELECT max(version) FROM schema_version")
    version = row[0] or 0
    if version > SCHEMA_VERSION:
        raise LogTooNewError(
            f"The local log has schema version {version}, this program knows {SCHEMA_VERSION}. "
            "Update the program, or move the file away to begin a new log."
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            db.execute(statement)
        db.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
