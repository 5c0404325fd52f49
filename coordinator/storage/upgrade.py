"""Bring an older database to the present schema, inside the transaction that opens it.

``meta.schema_version`` says where a database stands; Alembic's own table is written for its tools alone. Alembic is
imported only when there is something to upgrade.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, update

from coordinator.storage import tables


def upgrade(connection: Connection, found: int) -> None:
    """Run the revisions after ``found`` and note the new schema version."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, f"{found:04d}", purge=True)
    command.upgrade(config, f"{tables.SCHEMA_VERSION:04d}")
    here = tables.meta.c.name == "schema_version"
    connection.execute(update(tables.meta).where(here).values(value=str(tables.SCHEMA_VERSION)))
