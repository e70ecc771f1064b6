"""Which process has which published policy in its engine, so that the route moves when all of them have."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Empty: what waits now is probed again by whoever starts."""
    op.create_table(
        "policy_probe",
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), primary_key=True),
    )


def downgrade() -> None:
    """The first replica to have a version moves the route."""
    op.drop_table("policy_probe")
