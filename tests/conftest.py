"""What several packages' tests need: a PostgreSQL of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine

from benchmarks.postgresql_server import PostgresServer, PostgresUnavailableError


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL of this test run's own, on a free port; skipped where the distribution's package is missing."""
    try:
        server = PostgresServer.start(tmp_path_factory.mktemp("postgresql"))
    except PostgresUnavailableError as reason:
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture
def postgresql_url(postgresql_server: PostgresServer) -> Iterator[str]:
    """A new, empty database on it."""
    name = f"test_{secrets.token_hex(6)}"
    engine = create_engine(postgresql_server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgresql_server.url.rpartition("/")[0] + "/" + name
    engine.dispose()
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()
