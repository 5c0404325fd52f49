"""SQLite underneath the log: one connection a thread, write transactions, damage, and bytes that are really gone.

- A ``sqlite_utils.Database`` is never shared between threads or across a fork; each (process, thread) gets its own.
- Whatever reads and then writes starts with ``BEGIN IMMEDIATE``: a deferred transaction that upgrades itself fails at
  once with "database is locked" when two threads do it, whatever the timeout.
- ``secure_delete`` overwrites what is deleted, ``temp_store = MEMORY`` keeps copies out of temporary files, and
  :meth:`Storage.scrub` rebuilds the file and empties the write-ahead log.
- A file that SQLite calls damaged is renamed to ``*.corrupt-N`` and a new one is begun.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from data_logging.errors import LogBusyError, LogError, LogRecovered, LogUnavailableError
from data_logging.queries import first_row
from data_logging.schema import migrate

T = TypeVar("T")

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SIDE_FILES = ("-wal", "-shm", "-journal")
_SETTINGS = ("secure_delete = ON", "temp_store = MEMORY", "journal_mode = WAL", "synchronous = NORMAL")


class Storage:
    """Connections to one log file.

    Parameters
    ----------
    path
        The file; its folder is created.
    timeout_s
        How long to wait for another writer.
    migrate
        Makes and updates the tables, inside a write transaction.

    Raises
    ------
    LogUnavailableError, LogTooNewError
        When the file cannot be opened. A damaged file is not an error, see :attr:`recovered`.
    """

    def __init__(self, path: Path, timeout_s: float = 5.0, migrate: Callable[[Database], None] = migrate) -> None:
        self.path = path
        self._migrate = migrate
        self.timeout_s = timeout_s
        self.recovered: LogRecovered | None = None
        self._local = threading.local()
        self._lock = threading.RLock()
        self._generation = 0
        self._open: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogUnavailableError(_advice(f"its folder cannot be made: {error.strerror}")) from None
        self.run(_check)

    # -- running statements ----------------------------------------------------------------------------------------

    def run(self, work: Callable[[Database], T]) -> T:
        """Run ``work`` on this thread's database; on damage set the file aside and run it once more on a new one."""
        for attempt in (1, 2):
            generation = self._generation
            try:
                return work(self._database())
            except sqlite3.DatabaseError as error:
                if not (_is_damage(error) and attempt == 1):
                    raise _explained(error) from None
                self._set_aside(generation, str(error))
        raise AssertionError("unreachable")

    def write(self, work: Callable[[Database], T]) -> T:
        """Run ``work`` inside one ``BEGIN IMMEDIATE`` transaction; all or nothing."""

        def in_transaction(db: Database) -> T:
            with _immediate(db):
                return work(db)

        return self.run(in_transaction)

    def scrub(self) -> None:
        """Make sure that deleted content is in none of the files any more.

        Raises
        ------
        LogBusyError
            When another connection still reads old pages: the rows are deleted, their bytes may remain until the
            next call.
        """

        def rebuild(db: Database) -> None:
            db.execute("VACUUM")
            if first_row(db, "PRAGMA wal_checkpoint(TRUNCATE)")[0]:
                raise LogBusyError(
                    "The rows are deleted, but another process still reads the log, so that their bytes may remain in "
                    "it. Close it and try again."
                )

        self.run(rebuild)

    def close(self) -> None:
        """Close every connection of this process; the next use opens new ones."""
        with self._lock:
            self._generation += 1
            connections, self._open = self._open, []
        for connection in connections:
            connection.close()

    # -- damaged files ---------------------------------------------------------------------------------------------

    def set_aside_files(self) -> list[Path]:
        """Damaged files of earlier days, side files included. They hold what was logged then."""
        return sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*"))

    def remove_set_aside(self) -> int:
        """Overwrite and delete the damaged files that were kept; returns how many."""
        files = self.set_aside_files()
        for file in files:
            try:
                size = file.stat().st_size
                with file.open("r+b") as stream:
                    stream.write(b"\0" * size)
                    stream.flush()
                    os.fsync(stream.fileno())
                file.unlink()
            except OSError as error:
                raise LogUnavailableError(
                    f"{file.name} could not be removed ({error.strerror}): delete it by hand."
                ) from None
        self.recovered = None
        return len(files)

    def _set_aside(self, generation: int, reason: str) -> None:
        with self._lock:
            if generation != self._generation:
                return  # another thread has done it
            self.close()
            number = 1
            while (kept := self.path.with_name(f"{self.path.name}.corrupt-{number}")).exists():
                number += 1
            try:
                for side in _SIDE_FILES:
                    beside = self.path.with_name(self.path.name + side)
                    if beside.exists():
                        beside.rename(kept.with_name(kept.name + side))
                self.path.rename(kept)
            except OSError as error:
                raise LogUnavailableError(_advice(f"it is damaged and cannot be set aside: {error.strerror}")) from None
            self.recovered = LogRecovered(kept, reason)

    # -- connections -----------------------------------------------------------------------------------------------

    def _database(self) -> Database:
        key = (os.getpid(), self._generation)
        if getattr(self._local, "key", None) == key:
            db: Database = self._local.db
            return db
        db = self._connect()
        self._local.db, self._local.key = db, key
        return db

    def _connect(self) -> Database:
        with self._lock:
            # Only close() uses a connection from another thread than its own.
            connection = sqlite3.connect(self.path, timeout=self.timeout_s, check_same_thread=False)
            try:
                db = Database(connection, execute_plugins=False)
                for setting in _SETTINGS:
                    first_row(db, f"PRAGMA {setting}")
                if not self._open:
                    with _immediate(db):
                        self._migrate(db)
            except BaseException:
                connection.close()
                raise
            self._open.append(connection)
            return db


@contextmanager
def _immediate(db: Database) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.conn.in_transaction:
            db.execute("ROLLBACK")
        raise


def _check(db: Database) -> None:
    """Find damage when the file is opened, not when a row is needed."""
    if first_row(db, "PRAGMA quick_check(1)")[0] != "ok":
        raise _DamageFoundError("quick check failed")


class _DamageFoundError(sqlite3.DatabaseError):
    """Damage that ``quick_check`` saw before any statement tripped over it."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return isinstance(error, _DamageFoundError) or _primary_code(error) in _DAMAGED


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _explained(error: sqlite3.DatabaseError) -> LogError:
    """SQLite's words name tables and columns, never values."""
    if _primary_code(error) in _BUSY:
        return LogBusyError("The local log is in use by another process. Nothing was changed; try again.")
    return LogUnavailableError(_advice(str(error)))


def _advice(what: str) -> str:
    return (
        f"The local log cannot be used ({what}). Check the free space and the permissions of its folder; typing goes "
        "on without it, and nothing is logged meanwhile."
    )
