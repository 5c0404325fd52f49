"""Alembic's entry point: run the revisions on the connection that :mod:`coordinator.storage.upgrade` gives."""

from alembic import context

from coordinator.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
