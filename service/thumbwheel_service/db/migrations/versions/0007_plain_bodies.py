"""PostgreSQL stops trying to compress bodies: they are sealed, and what is encrypted does not shrink."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BODIES = (
    ("log", "value"),
    ("completion", "body"),
    ("feedback", "body"),
    ("feedback_revision", "body"),
    ("idempotency", "body"),
)


def upgrade() -> None:
    """Of what is written from now on."""
    _store("EXTERNAL")


def downgrade() -> None:
    """PostgreSQL's default."""
    _store("EXTENDED")


def _store(how: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column in _BODIES:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {how}")
