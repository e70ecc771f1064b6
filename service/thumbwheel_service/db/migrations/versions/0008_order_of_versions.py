"""In which order versions were published: by a count of our own, since the clock of who publishes may jump."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is there already is counted by its time."""
    op.add_column("policy", sa.Column("number", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE policy SET number = (SELECT count(*) FROM policy AS other WHERE other.created_ms < policy.created_ms"
        " OR (other.created_ms = policy.created_ms AND other.version <= policy.version))"
    )


def downgrade() -> None:
    """By time again."""
    op.drop_column("policy", "number")
