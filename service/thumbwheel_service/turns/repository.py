"""Turns in the database: finding, storing and reading them back."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import msgspec
from msgspec import Struct
from sqlalchemy import insert, or_, select, tuple_, update
from sqlmodel import Session, SQLModel, col

from thumbwheel.events import TurnCompleted, now_ms
from thumbwheel.types import FeedbackRecord, Message, Turn, TurnStatus
from thumbwheel_service.db.tables import CompletionRow, UnstoredRow
from thumbwheel_service.errors import BadInput, Conflicting, Missing

_completion = SQLModel.metadata.tables["completion"]
_body_decoder = msgspec.json.Decoder(TurnCompleted)
_body_encoder = msgspec.json.Encoder()


class UnknownCompletion(Missing):
    """No chat or imported turn has this id."""

    code = "unknown_completion"


class NotStored(Conflicting):
    """The chat was asked for with `store: false`: nothing of it is there to speak of."""

    code = "not_stored"


class BadCursor(BadInput):
    """The cursor was not made by an earlier page."""

    code = "invalid_cursor"


class _ToldChoice(Struct):
    index: int
    text: str


class _Told(Struct):
    """The part of a turn's body that feedback speaks of; token ids and log-probabilities are skipped unread."""

    messages: list[Message]
    choices: list[_ToldChoice]


_told_decoder = msgspec.json.Decoder(_Told)


class Said(NamedTuple):
    """A turn's prompt and one of its answers (None when the turn never got that far)."""

    messages: list[Message]
    answer: str | None


def find(session: Session, tenant: str, completion_id: str, *, field: str | None = None) -> CompletionRow:
    """The completion as it is now; raises `UnknownCompletion`, or `NotStored` for a chat with `store: false`."""
    statement = select(CompletionRow).where(col(CompletionRow.completion_id) == completion_id)
    row = session.execute(statement, execution_options={"populate_existing": True}).scalar_one_or_none()
    if row is not None and row.tenant == tenant:
        return row
    unstored = session.get(UnstoredRow, completion_id)
    if unstored is not None and unstored.tenant == tenant:
        raise NotStored("this chat was asked for with store: false; nothing of it was kept", field=field)
    raise UnknownCompletion(f"no completion {completion_id!r}", field=field)


def said(row: CompletionRow, choice: int) -> Said:
    """What the prompt was and what choice `choice` answered."""
    if row.body is None:
        return Said([], None)
    told = _told_decoder.decode(row.body)
    return Said(told.messages, next((c.text for c in told.choices if c.index == choice), None))


def status_of(row: CompletionRow) -> TurnStatus:
    """The status column, typed."""
    return cast(TurnStatus, row.status)


def conversation_exists(session: Session, tenant: str, conversation_id: str) -> bool:
    """Whether any turn of this conversation was recorded."""
    statement = select(col(CompletionRow.completion_id)).where(
        col(CompletionRow.tenant) == tenant, col(CompletionRow.conversation_id) == conversation_id
    )
    return session.execute(statement.limit(1)).first() is not None


def encode_body(turn: TurnCompleted) -> bytes:
    """What `completion.body` holds."""
    return _body_encoder.encode(turn)


def decode_body(body: bytes) -> TurnCompleted:
    """The other way round."""
    return _body_decoder.decode(body)


def insert_complete(session: Session, tenant: str, turn: TurnCompleted) -> None:
    """Store a whole turn at once (imports; chats store their identity first)."""
    values = {
        "completion_id": turn.completion_id,
        "tenant": tenant,
        "conversation_id": turn.conversation_id,
        "policy_version": turn.policy_version,
        "model": turn.model,
        "user": turn.user,
        "status": turn.status,
        "origin": turn.origin,
        "n": len(turn.choices),
        "routing_propensity": turn.routing_propensity,
        "owner": None,
        "created_ms": turn.created_ms,
        "finished_ms": turn.finished_ms,
        "body": encode_body(turn),
    }
    session.execute(insert(_completion), values)


def mark_lost(session: Session, replica: str, boot: str) -> list[str]:
    """Mark what earlier lives of this replica left open as lost; returns the completion ids.

    `owner` is `<replica>/<boot>`. The caller writes the pending events of their feedback.
    """
    dead = (
        col(CompletionRow.status) == "open",
        or_(
            col(CompletionRow.owner).is_(None),
            col(CompletionRow.owner).startswith(f"{replica}/", autoescape=True),
        ),
        or_(col(CompletionRow.owner).is_(None), col(CompletionRow.owner) != f"{replica}/{boot}"),
    )
    ids = list(session.execute(select(col(CompletionRow.completion_id)).where(*dead)).scalars())
    session.execute(
        update(_completion).where(*dead).values(status="lost", finished_ms=now_ms()),
        execution_options={"synchronize_session": False},
    )
    return ids


def page(
    session: Session,
    tenant: str,
    *,
    conversation_id: str | None,
    user: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[CompletionRow], str | None]:
    """Turns newest first, and the cursor of the next page; raises `BadCursor`."""
    statement = select(CompletionRow).where(col(CompletionRow.tenant) == tenant)
    if conversation_id is not None:
        statement = statement.where(col(CompletionRow.conversation_id) == conversation_id)
    if user is not None:
        statement = statement.where(col(CompletionRow.user) == user)
    key = tuple_(col(CompletionRow.created_ms), col(CompletionRow.completion_id))
    if cursor is not None:
        statement = statement.where(key < tuple_(*parse_cursor(cursor)))
    statement = statement.order_by(col(CompletionRow.created_ms).desc(), col(CompletionRow.completion_id).desc())
    rows = list(session.execute(statement.limit(limit + 1)).scalars())
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, f"{rows[-1].created_ms}~{rows[-1].completion_id}" if more else None


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Time and id of the last row of the page before; raises `BadCursor`."""
    moment, found, identifier = cursor.partition("~")
    if not found or not moment.isascii() or not moment.isdigit() or len(moment) > 15 or "\0" in identifier:
        raise BadCursor("take the cursor from `next` of the page before", field="cursor")
    return int(moment), identifier


def to_turn(row: CompletionRow, feedback: Sequence[FeedbackRecord] = ()) -> Turn:
    """The turn as the API returns it; an open or lost one has no messages and no choices."""
    if row.body is not None:
        return of_event(decode_body(row.body), feedback)
    return Turn(
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        policy_version=row.policy_version,
        status=status_of(row),
        origin=cast(Literal["chat", "import"], row.origin),
        created_ms=row.created_ms,
        finished_ms=row.finished_ms,
        user=row.user,
        model=row.model,
        feedback=list(feedback),
    )


def of_event(turn: TurnCompleted, feedback: Sequence[FeedbackRecord] = ()) -> Turn:
    """A completed turn as the API returns it."""
    return Turn(
        completion_id=turn.completion_id,
        conversation_id=turn.conversation_id,
        policy_version=turn.policy_version,
        status=turn.status,
        origin=turn.origin,
        created_ms=turn.created_ms,
        finished_ms=turn.finished_ms,
        user=turn.user,
        model=turn.model,
        messages=turn.messages,
        choices=turn.choices,
        sampling=turn.sampling,
        metadata=turn.metadata,
        feedback=list(feedback),
    )
