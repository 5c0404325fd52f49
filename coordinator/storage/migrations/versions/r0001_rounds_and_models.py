"""Schema version 1: rounds, their messages, models, sums. Databases begun by the first program version have it."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing to do: a database of schema version 1 was begun with these tables."""


def downgrade() -> None:
    """There is nothing before."""
