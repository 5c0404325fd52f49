"""Schema version 5: how long devices were told to stay away, by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table; the estimate begins anew."""
    op.create_table(
        "come_back_hours",
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("told_s", sa.Float(), nullable=False),
    )
