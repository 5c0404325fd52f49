"""Alembic revisions: how an older database becomes a present one. Revision ``0002`` leads to schema version 2."""
