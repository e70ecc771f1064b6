"""What a labeler says of pairs of answers, in a table of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "learner_verdict",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("labeler", sa.String(), primary_key=True),
        sa.Column("principle", sa.String(), primary_key=True),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("consistent", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("key_ids", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    """The verdicts go with it; they can be asked for again."""
    op.drop_table("learner_verdict")
