"""Whose words are sealed under which key, and who was forgotten. What was stored before stays as it is, unsealed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Both empty."""
    op.create_table(
        "person",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), primary_key=True),
        sa.Column("key_id", sa.String(), primary_key=True, unique=True),
        sa.Column("used_until_ms", _BIG),
    )
    op.create_index("ix_person_used_until_ms", "person", ["used_until_ms"])
    op.create_table(
        "erasure",
        sa.Column("erasure_id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("subject_sha256", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("key_ids", sa.Text(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("feedback", sa.Integer(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("deadline_ms", _BIG, nullable=False),
        sa.Column("applied_ms", _BIG),
        sa.Column("versions", sa.Text(), nullable=False),
    )
    op.create_index("ix_erasure_created_ms", "erasure", ["created_ms"])


def downgrade() -> None:
    """Without the bindings nobody can be erased any more; sealed rows stay, and only a later version reads them."""
    op.drop_table("erasure")
    op.drop_table("person")
