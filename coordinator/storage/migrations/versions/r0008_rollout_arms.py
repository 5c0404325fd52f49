"""Schema version 8: which arms a rollout reaches."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; so far the holdback ranked with version 0, whatever it was told."""
    op.add_column("rollouts", sa.Column("arms", sa.String(16), nullable=False, server_default="treatment"))
