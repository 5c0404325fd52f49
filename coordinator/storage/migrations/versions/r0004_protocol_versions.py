"""Schema version 4: rounds of more than one protocol version."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; rounds under way speak what they spoke."""
    op.add_column("rounds", sa.Column("protocol_version", sa.Integer()))
