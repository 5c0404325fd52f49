"""Schema version 6: a transition says who made it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; earlier transitions had nobody noted."""
    op.add_column("history", sa.Column("actor", sa.String(64)))
