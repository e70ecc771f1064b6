"""Which service processes live, so that one can tell which chats nobody will end any more."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Empty: whoever has open chats is given time to say that it lives."""
    op.create_table(
        "process",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("until_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    )


def downgrade() -> None:
    """Only the next start of the same replica then finds what it left open."""
    op.drop_table("process")
