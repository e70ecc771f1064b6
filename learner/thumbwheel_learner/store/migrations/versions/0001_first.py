"""The learner's first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "learner_command",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("stages", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "learner_dead_letter",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", _BIG, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset"),
    )
    op.create_table(
        "learner_feedback",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("revision", _BIG, nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("turn_status", sa.String(), nullable=True),
        sa.Column("completion_id", sa.String(), nullable=True),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("stored_ms", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "feedback_id"),
    )
    op.create_index("learner_feedback_stored", "learner_feedback", ["stored_ms"], unique=False)
    op.create_table(
        "learner_offset",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    op.create_table(
        "learner_policy",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rank", _BIG, nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "learner_reward_model",
        sa.Column("reward_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("reward_id"),
    )
    op.create_table(
        "learner_run",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("stages", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=True),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("frozen_ms", _BIG, nullable=False),
        sa.Column("started_ms", _BIG, nullable=False),
        sa.Column("finished_ms", _BIG, nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("learner_run_state", "learner_run", ["state", "started_ms"], unique=False)
    op.create_table(
        "learner_snapshot",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "learner_turn",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("finished_ms", _BIG, nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.Column("stored_ms", _BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "completion_id"),
    )
    op.create_index("learner_turn_prompts", "learner_turn", ["origin", "status", "created_ms"], unique=False)
    op.create_table(
        "learner_version",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_ms", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("version"),
        sa.UniqueConstraint("number"),
        sa.UniqueConstraint("run_id"),
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("learner_version")
    op.drop_index("learner_turn_prompts", table_name="learner_turn")
    op.drop_table("learner_turn")
    op.drop_table("learner_snapshot")
    op.drop_index("learner_run_state", table_name="learner_run")
    op.drop_table("learner_run")
    op.drop_table("learner_reward_model")
    op.drop_table("learner_policy")
    op.drop_table("learner_offset")
    op.drop_index("learner_feedback_stored", table_name="learner_feedback")
    op.drop_table("learner_feedback")
    op.drop_table("learner_dead_letter")
    op.drop_table("learner_command")
