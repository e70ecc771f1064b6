"""Every table of the service's database; only the service touches it."""

# SQLModel types __tablename__ as a declared_attr; a plain string is its documented use.
# pyright: reportAssignmentType=false

from typing import Any, cast

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlmodel import Field, SQLModel

_BIG = BigInteger().with_variant(Integer(), "sqlite")


class LogHead(SQLModel, table=True):
    """The next offset of a partition; updating it inside the writing transaction makes offset order commit order."""

    __tablename__ = "log_head"

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next: int = Field(default=0, sa_type=_BIG)
    first: int = Field(default=0, sa_type=_BIG)


class LogRow(SQLModel, table=True):
    """One event: the outbox and the embedded bus at once."""

    __tablename__ = "log"

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int = Field(primary_key=True, sa_type=_BIG)
    key: str
    event_id: str = Field(unique=True)
    value: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_ms: int = Field(sa_type=_BIG)


class RelayRow(SQLModel, table=True):
    """How far a partition of the log has been carried to Kafka, and which process has the lease to carry it on."""

    __tablename__ = "relay"

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next: int = Field(default=0, sa_type=_BIG)
    owner: str | None = None
    """`<replica>/<boot>`"""
    epoch: int = Field(default=0, sa_type=_BIG)
    """Grows whenever the lease changes hands."""
    until_ms: int = Field(default=0, sa_type=_BIG)
    """When the lease runs out, by the database's clock."""


class ProcessRow(SQLModel, table=True):
    """A service process that lives, until it has not said so for too long."""

    __tablename__ = "process"

    owner: str = Field(primary_key=True)
    """`<replica>/<boot>`"""
    until_ms: int = Field(sa_type=_BIG)
    """By the database's clock."""


class CompletionRow(SQLModel, table=True):
    """Identity of a completion, committed before the first byte of the answer leaves; the body arrives with its end."""

    __tablename__ = "completion"
    __table_args__ = (
        Index("completion_conversation", "tenant", "conversation_id", "created_ms"),
        Index("completion_user", "tenant", "user", "created_ms"),
        Index("completion_version", "tenant", "policy_version", "created_ms", "completion_id"),
        Index("completion_recent", "tenant", "created_ms", "completion_id"),
        Index("completion_open", "status", "owner"),
    )

    completion_id: str = Field(primary_key=True)
    tenant: str
    conversation_id: str
    policy_version: str
    model: str
    user: str | None = None
    status: str
    """open | complete | cut | lost"""
    origin: str
    """chat | import"""
    n: int = 1
    routing_propensity: float = 1.0
    owner: str | None = None
    """The service process that generates it; when that one dies, what it left open is marked as lost."""
    created_ms: int = Field(sa_type=_BIG)
    finished_ms: int | None = Field(default=None, sa_type=_BIG)
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    """JSON of `events.TurnCompleted`, once the turn is complete."""


class UnstoredRow(SQLModel, table=True):
    """Completion ids of chats with `store: false`: nothing of the chat, only that feedback on it is a conflict."""

    __tablename__ = "unstored"

    completion_id: str = Field(primary_key=True)
    tenant: str
    created_ms: int = Field(sa_type=_BIG)


class FeedbackRow(SQLModel, table=True):
    """The current revision of a piece of feedback, unique by its natural key."""

    __tablename__ = "feedback"
    __table_args__ = (
        Index("feedback_natural", "tenant", "natural_key", unique=True),
        Index("feedback_completion", "completion_id"),
        Index("feedback_conversation", "tenant", "conversation_id"),
        Index("feedback_other", "other_completion_id"),
        Index("feedback_recent", "tenant", "created_ms", "feedback_id"),
        Index("feedback_user", "tenant", "user", "created_ms", "feedback_id"),
        Index("feedback_version", "tenant", "policy_version", "created_ms", "feedback_id"),
        Index("feedback_kind", "tenant", "kind", "created_ms", "feedback_id"),
        Index(
            "feedback_retracted",
            "tenant",
            "created_ms",
            "feedback_id",
            sqlite_where=text("retracted = 1"),
            postgresql_where=text("retracted"),
        ),
    )

    feedback_id: str = Field(primary_key=True)
    tenant: str
    natural_key: str
    kind: str
    completion_id: str | None = None
    other_completion_id: str | None = None
    """The other side of a comparison: its end, too, may be what the event waits for."""
    conversation_id: str | None = None
    policy_version: str | None = None
    user: str | None = None
    revision: int
    retracted: bool = False
    pending_event: bool = False
    """True while the turn is still open: the event is written by the transaction that completes the turn."""
    created_ms: int = Field(sa_type=_BIG)
    updated_ms: int = Field(sa_type=_BIG)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    review_id: str | None = None
    """The question it answers; None where nobody asked."""


class ReviewRow(SQLModel, table=True):
    """A question of the learner, and what became of it."""

    __tablename__ = "review"
    __table_args__ = (
        Index("review_state", "tenant", "state", "created_ms", "review_id"),
        Index("review_completion", "completion_id"),
    )

    review_id: str = Field(primary_key=True)
    tenant: str
    kind: str
    """judge | compare"""
    conversation_id: str
    completion_id: str
    choice: int = 0
    acquisition: str
    score: float
    random: bool
    reward_model: str
    state: str = "open"
    """open | answered | expired | reranked | erased"""
    created_ms: int = Field(sa_type=_BIG)
    """When the learner asked."""
    expires_ms: int = Field(sa_type=_BIG)
    closed_ms: int | None = Field(default=None, sa_type=_BIG)
    feedback_id: str | None = None
    """The answer."""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """JSON of `sealed.ReviewTexts`, sealed under the keys of the turn."""


class FeedbackRevisionRow(SQLModel, table=True):
    """Append-only history behind a piece of feedback."""

    __tablename__ = "feedback_revision"

    feedback_id: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    retracted: bool
    created_ms: int = Field(sa_type=_BIG)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class IdempotencyRow(SQLModel, table=True):
    """The stored result of a request that carried an `Idempotency-Key`."""

    __tablename__ = "idempotency"

    tenant: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str
    status: int
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    expires_ms: int = Field(index=True, sa_type=_BIG)


class PersonRow(SQLModel, table=True):
    """Under which key somebody's words are sealed; the key itself lies in the key store."""

    __tablename__ = "person"

    tenant: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    """`user/<id>`, `conversation/<id>` when anonymous, `feedback/<id>` when of neither."""
    key_id: str = Field(primary_key=True, unique=True)
    used_until_ms: int | None = Field(default=None, index=True, sa_type=_BIG)
    """Nothing is sealed under it after that moment: with retention by age a person gets a new key now and then."""


class ErasureRow(SQLModel, table=True):
    """Somebody was forgotten, and how far that has come."""

    __tablename__ = "erasure"

    erasure_id: str = Field(primary_key=True)
    tenant: str
    subject_sha256: str
    state: str
    """erasing | erased | complete"""
    key_ids: str = Field(sa_column=Column(Text, nullable=False))
    """JSON: the ids of the destroyed keys."""
    turns: int
    feedback: int
    created_ms: int = Field(index=True, sa_type=_BIG)
    deadline_ms: int = Field(sa_type=_BIG)
    applied_ms: int | None = Field(default=None, sa_type=_BIG)
    versions: str = Field(default="[]", sa_column=Column(Text, nullable=False))
    """JSON of `types.AffectedVersion`."""


class PolicyRow(SQLModel, table=True):
    """A published policy version and what became of it here."""

    __tablename__ = "policy"

    version: str = Field(primary_key=True)
    number: int
    """In the order of publication, from 1: clocks may jump."""
    artifact: str
    state: str
    """published | loaded | live | retired | rejected"""
    promote: str = "auto"
    parent: str | None = None
    reason: str | None = None
    manifest: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    swap_seconds: float | None = None
    created_ms: int = Field(sa_type=_BIG)
    updated_ms: int = Field(sa_type=_BIG)


class PolicyProbeRow(SQLModel, table=True):
    """A process that has a published version in its engine, until the version has been live or never will be."""

    __tablename__ = "policy_probe"

    version: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    """`<replica>/<boot>`"""


class RouteRow(SQLModel, table=True):
    """The live route: one row with an epoch, owned by the service."""

    __tablename__ = "route"

    id: int = Field(default=1, primary_key=True)
    version: str
    previous: str
    epoch: int
    moved_ms: int = Field(sa_type=_BIG)


class ApiKeyRow(SQLModel, table=True):
    """An API key: the public prefix in clear, the secret as a SHA-256 (it is random, 256 bits)."""

    __tablename__ = "api_key"

    prefix: str = Field(primary_key=True)
    tenant: str
    name: str
    scope: str
    """chat | admin"""
    secret_sha256: str
    created_ms: int = Field(sa_type=_BIG)
    expires_ms: int | None = Field(default=None, sa_type=_BIG)
    revoked_ms: int | None = Field(default=None, sa_type=_BIG)


def table_of(row: type[SQLModel]) -> Table:
    """The table behind a row class, for the paths that go without the ORM."""
    return SQLModel.metadata.tables[str(cast(Any, row).__tablename__)]
