"""Schema version 7: rounds of several cohorts, a selection beside the round under way, what phases needed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns (what there is was one cohort a round), and swap the index that allowed one round a task."""
    for name in ("cohort", "cohorts"):
        op.add_column("rounds", sa.Column(name, sa.Integer(), nullable=False, server_default="1"))
    op.drop_index("one_running_round_a_task", "rounds")
    selecting, running = sa.text("state = 'selecting'"), sa.text("ended_at IS NULL")
    op.create_index("one_row_a_cohort", "rounds", ["task", "number", "attempt", "cohort"], unique=True)
    op.create_index(
        "one_selection_a_task",
        "rounds",
        ["task"],
        unique=True,
        sqlite_where=selecting,
        postgresql_where=selecting,
    )
    op.create_table(
        "phase_times",
        sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), primary_key=True),
        sa.Column("phase", sa.String(16), primary_key=True),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("needed_s", sa.Float(), nullable=False),
        sa.Column("short", sa.Integer(), nullable=False),
    )
    op.create_index("running_rounds", "rounds", ["task"], sqlite_where=running, postgresql_where=running)
