"""Dead letters are announced on the bus; those that are there already are told of at the next start."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark, unset."""
    with op.batch_alter_table("learner_dead_letter") as table:
        table.add_column(sa.Column("announced", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop the mark; the letters stay."""
    with op.batch_alter_table("learner_dead_letter") as table:
        table.drop_column("announced")
