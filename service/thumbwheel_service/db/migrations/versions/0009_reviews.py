"""The learner's questions, and which feedback answers which of them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Empty: the topic is read from its beginning at every start."""
    op.create_table(
        "review",
        sa.Column("review_id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("acquisition", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("random", sa.Boolean(), nullable=False),
        sa.Column("reward_model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("expires_ms", _BIG, nullable=False),
        sa.Column("closed_ms", _BIG, nullable=True),
        sa.Column("feedback_id", sa.String(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_index("review_state", "review", ["tenant", "state", "created_ms", "review_id"])
    op.create_index("review_completion", "review", ["completion_id"])
    op.add_column("feedback", sa.Column("review_id", sa.String(), nullable=True))


def downgrade() -> None:
    """Answers stay, as feedback that nobody asked for."""
    op.drop_column("feedback", "review_id")
    op.drop_table("review")
