"""Every table of the learner's own database; only the learner touches it.

Names carry a `learner_` prefix and their own metadata, so that service and learner may share one PostgreSQL database.
"""

import re

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.orm import declared_attr, registry
from sqlmodel import Field, SQLModel

_BIG = BigInteger().with_variant(Integer(), "sqlite")


class LearnerTable(SQLModel, registry=registry(metadata=MetaData())):
    """Keeps the learner's tables out of the service's metadata when both are imported by one process."""

    @declared_attr.directive
    @classmethod
    def __tablename__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - SQLModel's own way
        words: list[str] = re.findall("[A-Z][a-z]*", cls.__name__.removesuffix("Row"))
        return "_".join(["learner", *words]).lower()


def table_of(row: type[LearnerTable]) -> Table:
    """The plain table behind a row class, for statements over many rows."""
    return LearnerTable.metadata.tables[str(row.__tablename__)]


class OffsetRow(LearnerTable, table=True):
    """The next offset to store of a partition; it moves in the transaction that stores the rows before it."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next: int = Field(default=0, sa_type=_BIG)


class TurnRow(LearnerTable, table=True):
    """A chat turn; `body` is the envelope (of `events.TurnCompleted`) as it came."""

    __table_args__ = (Index("learner_turn_prompts", "origin", "status", "created_ms"),)

    tenant: str = Field(primary_key=True)
    completion_id: str = Field(primary_key=True)
    event_id: str
    rank: int
    """Orders several events of one turn, whatever order they arrive in: complete over cut over lost over open."""
    finished_ms: int = Field(sa_type=_BIG)
    conversation_id: str
    policy_version: str
    status: str
    origin: str
    created_ms: int = Field(sa_type=_BIG)
    stored_ms: int = Field(sa_type=_BIG)
    key_ids: str = ""
    """Of the keys that its body is sealed under, comma-separated; empty for what came unsealed."""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class FeedbackRow(LearnerTable, table=True):
    """The highest revision seen of a piece of feedback, retractions included; `body` is the envelope as it came."""

    __table_args__ = (Index("learner_feedback_stored", "stored_ms"),)

    tenant: str = Field(primary_key=True)
    feedback_id: str = Field(primary_key=True)
    revision: int = Field(sa_type=_BIG)
    event_id: str
    digest: str
    kind: str
    retracted: bool
    turn_status: str | None = None
    completion_id: str | None = None
    created_ms: int = Field(sa_type=_BIG)
    stored_ms: int = Field(sa_type=_BIG)
    key_ids: str = ""
    """As with turns."""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class VerdictRow(LearnerTable, table=True):
    """What a labeler says of two answers; nothing that counts or reads people's labels looks here."""

    digest: str = Field(primary_key=True)
    """Of conversation and answers."""
    labeler: str = Field(primary_key=True)
    principle: str = Field(primary_key=True)
    """Digest of its text."""
    probability: float
    """That the answer whose text sorts first is better."""
    consistent: bool
    run_id: str
    """That asked for it."""
    created_ms: int = Field(sa_type=_BIG)
    key_ids: str = ""
    """As with turns: of everybody whose words were judged."""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Reason and events, sealed under these keys; plain JSON where the events came unsealed."""


class QuestionRow(LearnerTable, table=True):
    """A question to people: chosen here, or read from the bus where this store is younger than the question."""

    __table_args__ = (Index("learner_question_state", "state", "asked_ms"),)

    review_id: str = Field(primary_key=True)
    tenant: str
    kind: str
    """judge | compare"""
    conversation_id: str
    completion_id: str
    random: bool
    state: str
    """open | answered | expired | reranked | erased"""
    asked_ms: int = Field(sa_type=_BIG)
    expires_ms: int = Field(sa_type=_BIG)
    told: bool = False
    """Whether the bus has its state: the question while it is open, then its withdrawal."""
    key_ids: str = ""
    """As with turns: those of the turn."""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The envelope of `events.ReviewAsked` as it travels."""


class ErasedKeyRow(LearnerTable, table=True):
    """A destroyed key: what comes under it, from whichever partition and however late, is not stored."""

    key_id: str = Field(primary_key=True)
    erasure_id: str


class ErasureRow(LearnerTable, table=True):
    """Somebody is to be forgotten, and how far this learner has come with it."""

    erasure_id: str = Field(primary_key=True)
    tenant: str
    key_ids: str = Field(sa_column=Column(Text, nullable=False))
    """Comma-separated."""
    turns: int = 0
    feedback: int = 0
    created_ms: int = Field(sa_type=_BIG)
    applied: bool = False
    """Whether the service has been told that it is done."""


class PolicyRow(LearnerTable, table=True):
    """What the policy topic says, latest per key; `rank` orders (the epoch of a route, the time of the others)."""

    key: str = Field(primary_key=True)
    rank: int = Field(sa_type=_BIG)
    event_id: str
    version: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class CommandRow(LearnerTable, table=True):
    """An operator's command, carried out once however often it is delivered."""

    event_id: str = Field(primary_key=True)
    command: str
    stages: str
    """Comma-separated; empty: all that are configured."""
    created_ms: int = Field(sa_type=_BIG)
    handled: bool = False


class DeadLetterRow(LearnerTable, table=True):
    """A record that is not an event or breaks the contract, kept as it came."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int = Field(primary_key=True, sa_type=_BIG)
    reason: str = Field(sa_column=Column(Text, nullable=False))
    key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    value: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_ms: int = Field(sa_type=_BIG)
    announced: bool = False
    """Whether operators can see it on the bus."""


class SnapshotRow(LearnerTable, table=True):
    """A frozen dataset on disk."""

    hash: str = Field(primary_key=True)
    file: str
    """Relative to the data directory."""
    counts: str = Field(sa_column=Column(Text, nullable=False))
    created_ms: int = Field(sa_type=_BIG)


class RunRow(LearnerTable, table=True):
    """One training run and how far it came."""

    __table_args__ = (Index("learner_run_state", "state", "started_ms"),)

    run_id: str = Field(primary_key=True)
    state: str
    """running | published | rejected | halted | skipped | failed | abandoned"""
    stage: str
    stages: str
    """Comma-separated, in order."""
    trigger: str
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    snapshot: str | None = None
    parent: str
    base: str
    """Fingerprint of the base model."""
    frozen_ms: int = Field(sa_type=_BIG)
    """Labels stored after this moment are new to the next run."""
    started_ms: int = Field(sa_type=_BIG)
    finished_ms: int | None = Field(default=None, sa_type=_BIG)
    version: str | None = None
    attempts: int = 1
    detail: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    """JSON: the result of each finished stage."""


class VersionRow(LearnerTable, table=True):
    """A version name once given, and how far its publication came: writing | written | announced | withdrawn."""

    version: str = Field(primary_key=True)
    number: int = Field(unique=True)
    run_id: str = Field(unique=True)
    state: str
    created_ms: int = Field(sa_type=_BIG)


class RewardModelRow(LearnerTable, table=True):
    """A trained reward model; the newest accepted one is the current one."""

    reward_id: str = Field(primary_key=True)
    run_id: str
    folder: str
    """Relative to the data directory."""
    snapshot: str
    metrics: str = Field(sa_column=Column(Text, nullable=False))
    created_ms: int = Field(sa_type=_BIG)
