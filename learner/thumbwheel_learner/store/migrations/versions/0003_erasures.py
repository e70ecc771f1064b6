"""Under which keys rows are sealed, and whose keys are destroyed; what is stored already came unsealed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns, empty, and the tables."""
    for name in ("learner_turn", "learner_feedback"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("key_ids", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "learner_erased_key",
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("erasure_id", sa.String(), nullable=False),
    )
    op.create_table(
        "learner_erasure",
        sa.Column("erasure_id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("key_ids", sa.Text(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("feedback", sa.Integer(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
    )


def downgrade() -> None:
    """An earlier version cannot read what is sealed; the bodies stay as they are."""
    op.drop_table("learner_erasure")
    op.drop_table("learner_erased_key")
    for name in ("learner_turn", "learner_feedback"):
        with op.batch_alter_table(name) as table:
            table.drop_column("key_ids")
