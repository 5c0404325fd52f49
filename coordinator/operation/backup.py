"""Backups in one portable file, for SQLite and PostgreSQL alike; a restored coordinator never goes back in versions.

The file is gzip over MessagePack objects: a header, then batches of rows by table, then an end mark. What belongs to a
round under way (participants, messages, results, check-ins) and sessions of operators are left out: a backup must not
keep what is to be deleted within the hour. A round that was running is ended on restore.

Devices refuse signed metadata with a lower version, a model number must never name two models, and privacy that was
spent stays spent. So all three continue from the marks of :mod:`coordinator.operation.high_water`, which are not part
of a backup.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from sqlalchemy import Table, func, insert, select, text, update

from coordinator.errors import StorageError
from coordinator.operation.audit import COMMAND_LINE, record
from coordinator.operation.high_water import HighWater
from coordinator.privacy.ledger import book_missing
from coordinator.releases.rollout import republish
from coordinator.storage import Database, tables
from coordinator.storage.tables import metadata, models, release_metadata, rounds
from federated_protocol.messages import AbandonReason

FORMAT = 1
LEFT_OUT = frozenset(("participants", "messages", "results", "check_ins", "account_sessions", "alembic_version"))
BATCH_ROWS = 100
_LENGTH_BYTES = 4
_LARGEST_BATCH = 1 << 30


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first object of a backup."""

    format: int
    schema_version: int
    made_at: float


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one table; the empty name marks the end."""

    table: str
    rows: list[dict[str, Any]]


class BackupSummary(msgspec.Struct, frozen=True):
    """What was written or restored."""

    made_at: float
    rows: dict[str, int]
    newest_model: int


def back_up(database: Database, target: Path, now: float) -> BackupSummary:
    """Write everything worth keeping to ``target``, as of one moment; replaces the file only when whole.

    Raises
    ------
    StorageError
        when the file cannot be written.
    """
    counts: dict[str, int] = {}
    part = target.with_name(target.name + ".part")
    try:
        with database.reading() as connection, gzip.open(part, "wb", compresslevel=6) as file:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            _write(file, Header(FORMAT, tables.SCHEMA_VERSION, now))
            for table in _kept():
                counts[table.name] = 0
                for rows in connection.execute(select(table)).mappings().partitions(BATCH_ROWS):
                    counts[table.name] += len(rows)
                    _write(
                        file,
                        Batch(str.__str__(table.name), [{str.__str__(k): v for k, v in row.items()} for row in rows]),
                    )
            _write(file, Batch("", []))
            newest = connection.scalar(select(func.max(models.c.version))) or 0
        os.chmod(part, 0o600)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"the backup {target} cannot be written: {error.strerror}; nothing was replaced") from None
    return BackupSummary(now, counts, newest)


def restore(database: Database, source: Path, now: float, marks: Path | None = None) -> BackupSummary:
    """Fill a new database from a backup, in one transaction.

    Parameters
    ----------
    marks
        The high-water file, or the online folder that holds it: with it the next metadata and model versions lie above
        all used ones, and no task has spent less privacy than before.

    Raises
    ------
    StorageError
        when the database is not empty, or the file is no whole backup of this schema version.
    """
    counts: dict[str, int] = {}
    known = {table.name: table for table in _kept()}
    header: Header | None = None
    with database.writing() as connection:
        if connection.scalar(select(func.count()).select_from(models)):
            raise StorageError("the database holds models already: restore into a new one (--database)")
        connection.execute(tables.meta.delete())
        complete = False
        for item in _read(source):
            if isinstance(item, Header):
                header = item
                if item.schema_version != tables.SCHEMA_VERSION:
                    raise StorageError(
                        f"the backup has schema version {item.schema_version}, this program {tables.SCHEMA_VERSION}: "
                        "restore it with the program version that wrote it, then upgrade"
                    )
            elif not item.table:
                complete = True
            elif item.table not in known:
                raise StorageError(_damaged(source))
            elif item.rows:
                counts[item.table] = counts.get(item.table, 0) + len(item.rows)
                connection.execute(insert(known[item.table]), item.rows)
        if header is None or not complete:
            raise StorageError(_damaged(source))
        _continue_sequences(connection)
        ended = {
            "state": "abandoned",
            "reason": AbandonReason.COORDINATOR_RESTARTED.value,
            "ended_at": now,
            "purged": 1,
        }
        connection.execute(update(rounds).where(rounds.c.ended_at.is_(None)).values(**ended))
        newest = connection.scalar(select(func.max(models.c.version))) or 0
        if marks is not None:
            used = HighWater.read(marks)
            connection.execute(release_metadata.delete().where(release_metadata.c.role.not_in(("root", "targets"))))
            if used.model > newest:
                newest = republish(connection, newest, now=now, above=used.model)
            book_missing(connection, used.spent)
        record(connection, now, COMMAND_LINE, "restore", f"backup of {int(header.made_at)}, model {newest}")
    return BackupSummary(header.made_at, counts, newest)


def _continue_sequences(connection: Any) -> None:
    """PostgreSQL counts keys apart from the rows: go on after the highest restored one."""
    if connection.dialect.name != "postgresql":
        return
    for table in ("rounds", "history", "audit_log"):
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), "
                f"(SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
            )
        )


def _kept() -> list[Table]:
    return [table for table in metadata.sorted_tables if table.name not in LEFT_OUT]


def _write(file: Any, item: Header | Batch) -> None:
    data = msgspec.msgpack.encode(item)
    file.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


def _read(source: Path) -> Iterator[Header | Batch]:
    try:
        with gzip.open(source, "rb") as file:
            yield msgspec.msgpack.decode(_next(file), type=Header)
            while data := _next(file):
                yield msgspec.msgpack.decode(data, type=Batch)
    except FileNotFoundError:
        raise StorageError(f"there is no backup {source}") from None
    except (OSError, EOFError, msgspec.DecodeError, ValueError):
        raise StorageError(_damaged(source)) from None


def _next(file: BinaryIO | gzip.GzipFile) -> bytes:
    size = int.from_bytes(file.read(_LENGTH_BYTES), "big")
    if size > _LARGEST_BATCH:
        raise ValueError
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _damaged(source: Path) -> str:
    return f"{source} is no whole backup: take another one; nothing was restored"
