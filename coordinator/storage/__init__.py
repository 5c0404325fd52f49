"""Storage: all state of the coordinator, as tables and short transactions.

``tables`` describes the schema, ``database`` opens it (SQLite WAL by default, PostgreSQL by URL); the stores built on
them are ``round_store``, ``participant_store``, ``message_store`` and, next to their subjects, ``coordinator.releases``
and ``coordinator.experiments``.
"""

from coordinator.storage.database import Database

__all__ = ["Database"]
