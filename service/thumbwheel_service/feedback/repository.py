"""Feedback in the database: current rows, their revisions, and events that wait for a turn to end."""

from collections.abc import Sequence
from typing import cast

import msgspec
from sqlalchemy import insert, or_, select, tuple_, update
from sqlmodel import Session, SQLModel, col

from thumbwheel.events import Envelope
from thumbwheel.types import Feedback, FeedbackRecord, Kind
from thumbwheel_service.db.tables import FeedbackRevisionRow, FeedbackRow
from thumbwheel_service.feedback.events import recorded
from thumbwheel_service.feedback.target import Target, find_again
from thumbwheel_service.log.append import append_events
from thumbwheel_service.turns.repository import parse_cursor

_feedback = SQLModel.metadata.tables["feedback"]
_revision = SQLModel.metadata.tables["feedback_revision"]
_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[Feedback] = msgspec.json.Decoder(Feedback)


def encode_feedback(feedback: Feedback) -> bytes:
    """What the `body` columns hold; equal content gives equal bytes."""
    return _encoder.encode(feedback)


def decode_feedback(body: bytes) -> Feedback:
    """The other way round."""
    return _decoder.decode(body)


def by_natural_key(session: Session, tenant: str, natural_key: str) -> FeedbackRow | None:
    """The current row of a natural key."""
    statement = select(FeedbackRow).where(
        col(FeedbackRow.tenant) == tenant, col(FeedbackRow.natural_key) == natural_key
    )
    return session.execute(statement, execution_options={"populate_existing": True}).scalar_one_or_none()


def by_id(session: Session, feedback_id: str) -> FeedbackRow | None:
    """The current row of an id, whoever's it is."""
    statement = select(FeedbackRow).where(col(FeedbackRow.feedback_id) == feedback_id)
    return session.execute(statement, execution_options={"populate_existing": True}).scalar_one_or_none()


def create(session: Session, tenant: str, feedback: Feedback, target: Target, moment: int) -> FeedbackRecord:
    """Store a first revision with its event, unless the turn is still open."""
    completion = target.completion
    row = FeedbackRow(
        feedback_id=target.feedback_id,
        tenant=tenant,
        natural_key=target.natural_key,
        kind=type(feedback).__name__.lower(),
        completion_id=completion.completion_id if completion else None,
        other_completion_id=target.other.completion_id if target.other else None,
        conversation_id=target.conversation_id,
        policy_version=completion.policy_version if completion else None,
        user=feedback.user,
        revision=1,
        retracted=False,
        pending_event=target.is_open,
        created_ms=moment,
        updated_ms=moment,
        body=encode_feedback(feedback),
    )
    session.execute(insert(_feedback), row.model_dump())
    _note(session, row, feedback, target)
    return _record(row, feedback)


def revise(
    session: Session, row: FeedbackRow, feedback: Feedback, target: Target, *, retracted: bool, moment: int
) -> FeedbackRecord:
    """Replace the current content by one more revision, with its event unless the turn is still open."""
    session.expunge(row)
    row.revision += 1
    row.retracted = retracted
    row.pending_event = target.is_open
    row.updated_ms = moment
    row.body = encode_feedback(feedback)
    changed = row.model_dump(include={"revision", "retracted", "pending_event", "updated_ms", "body"})
    session.execute(update(_feedback).where(_feedback.c.feedback_id == row.feedback_id).values(changed))
    _note(session, row, feedback, target)
    return _record(row, feedback)


def _note(session: Session, row: FeedbackRow, feedback: Feedback, target: Target) -> None:
    """Write the history's row, and the event when there is nothing to wait for."""
    history = row.model_dump(include={"feedback_id", "revision", "retracted", "body"}) | {"created_ms": row.updated_ms}
    session.execute(insert(_revision), history)
    if not target.is_open:
        append_events(session, [recorded(row, feedback, target)])


def flush_pending(session: Session, completion_id: str) -> int:
    """Write the events that waited for this turn; returns how many.

    Called by whoever ends a turn, in the same transaction, after the turn's row and body are written. Of feedback
    that changed meanwhile only the latest revision becomes an event; the history has the others. A comparison goes on
    waiting while its other side is open.
    """
    waiting = select(FeedbackRow).where(
        col(FeedbackRow.pending_event),
        or_(col(FeedbackRow.completion_id) == completion_id, col(FeedbackRow.other_completion_id) == completion_id),
    )
    rows = session.execute(waiting, execution_options={"populate_existing": True}).scalars().all()
    events: list[Envelope] = []
    for row in rows:
        feedback = decode_feedback(row.body)
        target = find_again(session, row.tenant, feedback, row.feedback_id, row.natural_key)
        if target.is_open:
            continue
        events.append(recorded(row, feedback, target))
        done = update(_feedback).where(_feedback.c.feedback_id == row.feedback_id).values(pending_event=False)
        session.execute(done)
    append_events(session, events)
    return len(events)


def revisions(session: Session, feedback_id: str) -> Sequence[FeedbackRevisionRow]:
    """Every revision, oldest first."""
    statement = (
        select(FeedbackRevisionRow)
        .where(col(FeedbackRevisionRow.feedback_id) == feedback_id)
        .order_by(col(FeedbackRevisionRow.revision))
    )
    return session.execute(statement).scalars().all()


def of_completions(session: Session, tenant: str, completion_ids: Sequence[str]) -> dict[str, list[FeedbackRecord]]:
    """Current feedback per completion, oldest first."""
    statement = (
        select(FeedbackRow)
        .where(col(FeedbackRow.tenant) == tenant, col(FeedbackRow.completion_id).in_(completion_ids))
        .order_by(col(FeedbackRow.created_ms), col(FeedbackRow.feedback_id))
    )
    found: dict[str, list[FeedbackRecord]] = {identifier: [] for identifier in completion_ids}
    for row in session.execute(statement).scalars():
        found[row.completion_id or ""].append(to_record(row))
    return found


def page(
    session: Session,
    tenant: str,
    *,
    completion_id: str | None,
    conversation_id: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[FeedbackRecord], str | None]:
    """Feedback newest first, and the cursor of the next page; raises `BadCursor`."""
    statement = select(FeedbackRow).where(col(FeedbackRow.tenant) == tenant)
    if completion_id is not None:
        statement = statement.where(col(FeedbackRow.completion_id) == completion_id)
    if conversation_id is not None:
        statement = statement.where(col(FeedbackRow.conversation_id) == conversation_id)
    key = tuple_(col(FeedbackRow.created_ms), col(FeedbackRow.feedback_id))
    if cursor is not None:
        statement = statement.where(key < tuple_(*parse_cursor(cursor)))
    statement = statement.order_by(col(FeedbackRow.created_ms).desc(), col(FeedbackRow.feedback_id).desc())
    rows = list(session.execute(statement.limit(limit + 1)).scalars())
    more = len(rows) > limit
    rows = rows[:limit]
    return [to_record(row) for row in rows], f"{rows[-1].created_ms}~{rows[-1].feedback_id}" if more else None


def to_record(row: FeedbackRow) -> FeedbackRecord:
    """The row as the API returns it."""
    return _record(row, decode_feedback(row.body))


def _record(row: FeedbackRow, feedback: Feedback) -> FeedbackRecord:
    return FeedbackRecord(
        feedback_id=row.feedback_id,
        revision=row.revision,
        retracted=row.retracted,
        kind=cast(Kind, row.kind),
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        feedback=feedback,
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        policy_version=row.policy_version,
    )
