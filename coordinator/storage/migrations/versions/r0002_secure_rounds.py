"""Schema version 2: rounds on a sparse graph with a confirmation, signed messages kept for peers, the privacy ledger.

What belongs to a round under way is dropped: a round of the earlier protocol cannot go on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """New columns of rounds, new round tables, the ledger."""
    for column in (
        sa.Column("neighbours", sa.Integer),
        sa.Column("root", sa.LargeBinary(32)),
        sa.Column("confirmed", sa.Integer),
    ):
        op.add_column("rounds", column)
    op.drop_table("participants")
    op.create_table(
        "participants",
        sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), primary_key=True),
        sa.Column("device", sa.LargeBinary(16), primary_key=True),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("joined_at", sa.Float, nullable=False),
        sa.Column("position", sa.Integer),
        sa.Column("dropped_in", sa.String(16)),
    )
    op.drop_table("messages")
    op.create_table(
        "messages",
        sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), primary_key=True),
        sa.Column("phase", sa.String(16), primary_key=True),
        sa.Column("device", sa.LargeBinary(16), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
    )
    op.create_table(
        "privacy_charges",
        sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), primary_key=True),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("rho", sa.Float, nullable=False),
        sa.Column("charged_at", sa.Float, nullable=False),
    )
    op.create_index("ix_privacy_charges_task", "privacy_charges", ["task"])


def downgrade() -> None:
    """Not offered: the ledger of what was spent must not be lost."""
    raise NotImplementedError("the privacy ledger must not be lost: restore a backup instead")
