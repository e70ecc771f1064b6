"""PostgreSQL stops trying to compress bodies: they are sealed, and what is encrypted does not shrink."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BODIES = ("learner_turn", "learner_feedback")


def upgrade() -> None:
    """Of what is written from now on; half as much again is stored in the same time."""
    _store("EXTERNAL")


def downgrade() -> None:
    """PostgreSQL's default."""
    _store("EXTENDED")


def _store(how: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _BODIES:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN body SET STORAGE {how}")
