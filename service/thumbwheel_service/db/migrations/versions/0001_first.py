"""The first schema: log, turns, feedback, idempotency, policies, keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create everything."""
    _log()
    _turns()
    _feedback()
    _policies()


def downgrade() -> None:
    """Drop everything."""
    for table in (
        "api_key",
        "route",
        "policy",
        "idempotency",
        "feedback_revision",
        "feedback",
        "unstored",
        "completion",
        "relay",
        "log_head",
        "log",
    ):
        op.drop_table(table)


def _log() -> None:
    op.create_table(
        "log",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", _BIG, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset"),
        sa.UniqueConstraint("event_id"),
    )
    op.create_table(
        "log_head",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next", _BIG, nullable=False),
        sa.Column("first", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    op.create_table(
        "relay",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )


def _turns() -> None:
    op.create_table(
        "completion",
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("user", sa.String()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("routing_propensity", sa.Float(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("finished_ms", _BIG),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("completion_id"),
    )
    op.create_index("completion_conversation", "completion", ["tenant", "conversation_id", "created_ms"])
    op.create_index("completion_user", "completion", ["tenant", "user", "created_ms"])
    op.create_index("completion_recent", "completion", ["tenant", "created_ms", "completion_id"])
    op.create_index("completion_open", "completion", ["status", "owner"])
    op.create_table(
        "unstored",
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("completion_id"),
    )


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("natural_key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("completion_id", sa.String()),
        sa.Column("other_completion_id", sa.String()),
        sa.Column("conversation_id", sa.String()),
        sa.Column("policy_version", sa.String()),
        sa.Column("user", sa.String()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("pending_event", sa.Boolean(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("updated_ms", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id"),
    )
    op.create_index("feedback_natural", "feedback", ["tenant", "natural_key"], unique=True)
    op.create_index("feedback_completion", "feedback", ["completion_id"])
    op.create_index("feedback_conversation", "feedback", ["tenant", "conversation_id"])
    op.create_index("feedback_other", "feedback", ["other_completion_id"])
    op.create_index("feedback_recent", "feedback", ["tenant", "created_ms", "feedback_id"])
    op.create_table(
        "feedback_revision",
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id", "revision"),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("expires_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key"),
    )
    op.create_index("ix_idempotency_expires_ms", "idempotency", ["expires_ms"])


def _policies() -> None:
    op.create_table(
        "policy",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("artifact", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("promote", sa.String(), nullable=False),
        sa.Column("parent", sa.String()),
        sa.Column("reason", sa.String()),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("swap_seconds", sa.Float()),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("updated_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "route",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("moved_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "api_key",
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("expires_ms", _BIG),
        sa.Column("revoked_ms", _BIG),
        sa.PrimaryKeyConstraint("prefix"),
    )
