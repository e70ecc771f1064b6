"""An index for every filter by which turns and feedback are read back, and figures by which SQLite chooses one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FEEDBACK = {"feedback_user": "user", "feedback_version": "policy_version", "feedback_kind": "kind"}
_PER_KEY = {
    "completion": {
        "sqlite_autoindex_completion_1": "1",
        "completion_conversation": "1000000 4 1",
        "completion_user": "1000000 200 1",
        "completion_version": "1000000 50000 1 1",
        "completion_recent": "1000000 1 1",
        "completion_open": "1000 100",
    },
    "feedback": {
        "sqlite_autoindex_feedback_1": "1",
        "feedback_natural": "1000000 1",
        "feedback_completion": "2",
        "feedback_conversation": "1000000 8",
        "feedback_other": "2",
        "feedback_user": "1000000 200 1 1",
        "feedback_version": "1000000 50000 1 1",
        "feedback_kind": "1000000 125000 1 1",
        "feedback_retracted": "1000 1 1",
        "feedback_recent": "1000000 1 1",
    },
}
"""How many rows of a large service share the first column of each index, the first two, and so on."""


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
    if op.get_bind().dialect.name == "sqlite":
        _tell_sqlite()


def downgrade() -> None:
    """Without them, pages are read off the older indexes."""
    if op.get_bind().dialect.name == "sqlite":
        _forget_figures()
    for index in ("feedback_retracted", *reversed(_FEEDBACK)):
        op.drop_index(index, "feedback")
    op.drop_index("completion_version", "completion")


def _tell_sqlite() -> None:
    """Without figures SQLite takes a person's rows for no fewer than a tenant's; PostgreSQL counts for itself."""
    op.execute("ANALYZE relay")  # makes the table of figures
    _forget_figures()
    figures = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
    rows = [
        {"tbl": table, "idx": index, "stat": f"{1_000 if index == 'feedback_retracted' else 1_000_000} {per_key}"}
        for table, indexes in _PER_KEY.items()
        for index, per_key in indexes.items()
    ]
    op.bulk_insert(figures, rows)
    op.execute("ANALYZE sqlite_master")  # reads them


def _forget_figures() -> None:
    op.execute("DELETE FROM sqlite_stat1 WHERE tbl IN ('completion', 'feedback')")
