"""Connections and transactions: SQLite in WAL mode by default, any other database by URL.

Two kinds of transactions, because SQLite must know beforehand: :meth:`Database.reading` never takes the write lock,
:meth:`Database.writing` takes it at once (``BEGIN IMMEDIATE``), so that reading first and writing after cannot fail
with "database is locked". On PostgreSQL both are ordinary transactions and rows are locked with ``FOR UPDATE``.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Insert, Select, Table, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from coordinator.errors import StorageError
from coordinator.storage import tables
from coordinator.storage.upgrade import upgrade

_WRITE = "coordinator_write"
_PREPARING = 0x66656B62
"""Advisory lock of PostgreSQL while the schema is made or upgraded."""


class Database:
    """The coordinator's database.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:///path`` (made when absent) or ``postgresql+psycopg://...``.

    Raises
    ------
    StorageError
        when the file is no database, belongs to another schema version, or cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ImportError):
            raise StorageError(
                "database_url is not understood: use sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME "
                "(the latter needs the psycopg package)"
            ) from None
        self._sqlite = self.engine.dialect.name == "sqlite"
        # One writer at a time inside the process: SQLite would let the others sleep and poll.
        self._write_lock = threading.Lock() if self._sqlite else None
        try:
            self._prepare()
        except (DatabaseError, sqlite3.Error) as error:
            self.engine.dispose()
            raise _explained(error, url) from None
        except BaseException:
            self.engine.dispose()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the database; changes nothing."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """One transaction that may write; committed at the end, rolled back on an exception.

        One that need not be ``durable`` may be lost, whole, when the database server crashes in the next moment; nobody
        waits for its disk then. SQLite's log waits for no disk either (``synchronous=NORMAL``).
        """
        with (
            self._write_lock or nullcontext(),
            self.engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            if not durable and not self._sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _prepare(self) -> None:
        with self.writing() as connection:
            if self._sqlite:
                check = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if check != "ok":
                    raise StorageError(_corrupt_advice(self.engine.url.database or ""))
            else:  # several processes may start at once
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_PREPARING})")
            begun = inspect(connection).has_table(tables.meta.name)
            if not begun:
                tables.metadata.create_all(connection)
            found = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "schema_version"))
            if found is None:
                connection.execute(insert(tables.meta).values(name="schema_version", value=str(tables.SCHEMA_VERSION)))
            elif found.isdecimal() and 1 <= int(found) < tables.SCHEMA_VERSION:
                upgrade(connection, int(found))
            elif found != str(tables.SCHEMA_VERSION):
                raise StorageError(
                    f"the database has schema version {found}, this program needs {tables.SCHEMA_VERSION}: "
                    "run the program version that made it, or begin a new database with another --database"
                )


class OneRow:
    """A query of at most one row that requests run again and again.

    On SQLite it is run by the driver itself: SQLAlchemy spends ten times as long on running a statement that it has
    compiled as SQLite does on answering it. Values come as the driver gives them, true and false as 1 and 0.
    """

    def __init__(self, query: Select[Any]) -> None:
        self._query = query
        self._compiled = functools.cache(self._compile)

    def find(self, connection: Connection, **values: Any) -> Sequence[Any] | None:
        """The row, its columns in their order."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._query, values).one_or_none()
        text, names = self._compiled(connection.dialect)
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        row: Sequence[Any] | None = driver.execute(text, [values[name] for name in names]).fetchone()
        return row

    def _compile(self, dialect: Dialect) -> tuple[str, Sequence[str]]:
        compiled = self._query.compile(dialect=dialect)
        return compiled.string, compiled.positiontup or ()


def inserted(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless one of its keys exists; say whether it was inserted."""
    return connection.execute(_insert_new(connection.dialect.name, table), values).rowcount == 1


@functools.cache
def _insert_new(dialect: str, table: Table) -> Insert:
    """Both databases know ``ON CONFLICT DO NOTHING``, SQLAlchemy by each one's name. No key is asked back (inline)."""
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as made
    else:
        from sqlalchemy.dialects.postgresql import insert as made  # type: ignore[assignment] # nor imported without need
    return made(table).inline().on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # No ping before each use: it would double the round trips. A connection that was cut fails one request with
        # "unavailable", which devices repeat, and takes all others of its age out of the pool.
        return create_engine(parsed, pool_size=16, max_overflow=32, pool_use_lifo=True)
    if parsed.database in (None, "", ":memory:"):
        raise StorageError("a database in memory loses every model on restart: name a file, sqlite:///PATH")
    arguments: dict[str, Any] = {"timeout": 30.0, "check_same_thread": False}
    # The connection used last is used next: its pages are in its cache, and the others' caches stay small.
    engine = create_engine(parsed, connect_args=arguments, pool_size=16, max_overflow=48, pool_use_lifo=True)

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # a deleted message is overwritten, not merely unlinked
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_WRITE, False)
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("BEGIN IMMEDIATE" if immediate else "BEGIN")  # past SQLAlchemy: it is said for every request

    return engine


def _explained(error: DatabaseError | sqlite3.Error, url: str) -> StorageError:
    original = error.orig if isinstance(error, DatabaseError) else error
    text = str(original)
    place = make_url(url).database or ""
    if "not a database" in text or "malformed" in text:
        return StorageError(_corrupt_advice(place))
    if "unable to open" in text:
        return StorageError(f"cannot open or create the database {place}: check that its folder exists and is writable")
    if "locked" in text:
        return StorageError(f"the database {place} is locked by another program: stop that program, then start again")
    return StorageError(f"the database cannot be used ({type(original).__name__}): check --database and its server")


def _corrupt_advice(place: str) -> str:
    return (
        f"the database {place} is damaged or is no SQLite database: move it (with its -wal and -shm files) aside and "
        "restore a backup, or start again with another --database; nothing was changed"
    )
