"""An index for every filter by which turns and feedback are read back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FEEDBACK = {"feedback_user": "user", "feedback_version": "policy_version", "feedback_kind": "kind"}


def upgrade() -> None:
    """Each holds its rows newest first, as pages are read; the last one holds only what was taken back."""
    op.create_index("completion_version", "completion", ["tenant", "policy_version", "created_ms", "completion_id"])
    for index, column in _FEEDBACK.items():
        op.create_index(index, "feedback", ["tenant", column, "created_ms", "feedback_id"])
    op.create_index(
        "feedback_retracted",
        "feedback",
        ["tenant", "created_ms", "feedback_id"],
        sqlite_where=sa.text("retracted = 1"),
        postgresql_where=sa.text("retracted"),
    )


def downgrade() -> None:
    """Without them, pages are read off the older indexes."""
    for index in ("feedback_retracted", *reversed(_FEEDBACK)):
        op.drop_index(index, "feedback")
    op.drop_index("completion_version", "completion")
