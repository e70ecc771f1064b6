"""A lease on every partition that is carried to Kafka."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Nobody holds a lease yet."""
    with op.batch_alter_table("relay") as relay:
        relay.add_column(sa.Column("owner", sa.String()))
        relay.add_column(sa.Column("epoch", _BIG, nullable=False, server_default="0"))
        relay.add_column(sa.Column("until_ms", _BIG, nullable=False, server_default="0"))


def downgrade() -> None:
    """Forget who held what."""
    with op.batch_alter_table("relay") as relay:
        for column in ("until_ms", "epoch", "owner"):
            relay.drop_column(column)
