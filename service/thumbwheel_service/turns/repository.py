"""Turns in the database: finding, storing and reading them back."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, bindparam, insert, select

from thumbwheel.box import Secrets
from thumbwheel.events import TurnCompleted, TurnSealed
from thumbwheel.sealed import seal_turn, turn_name
from thumbwheel.types import FeedbackRecord, Message, Turn, TurnStatus
from thumbwheel_service.db.bulk import Among
from thumbwheel_service.db.keyring import subject_of
from thumbwheel_service.db.pages import Span, page_of, to_cursor
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import CompletionRow, UnstoredRow, table_of
from thumbwheel_service.errors import Conflicting, Missing
from thumbwheel_service.redaction.cleared import Cleared

_completion = table_of(CompletionRow)
_unstored = table_of(UnstoredRow)
_body_decoder = msgspec.json.Decoder(TurnCompleted)


class UnknownCompletion(Missing):
    """No chat or imported turn has this id."""

    code = "unknown_completion"


class NotStored(Conflicting):
    """The chat was asked for with `store: false`: nothing of it is there to speak of."""

    code = "not_stored"


class Completion(NamedTuple):
    """A row of the table, read without the ORM: this is the path of every piece of feedback."""

    completion_id: str
    tenant: str
    conversation_id: str
    policy_version: str
    model: str
    user: str | None
    status: TurnStatus
    origin: Literal["chat", "import"]
    n: int
    created_ms: int
    finished_ms: int | None
    body: bytes | None


_COLUMNS = [_completion.c[name] for name in Completion._fields]
_FIND = select(*_COLUMNS).where(_completion.c.completion_id == bindparam("id"))
_find_all = Among(_completion, Completion._fields, "completion_id")
_FIND_UNSTORED = select(_unstored.c.tenant).where(_unstored.c.completion_id == bindparam("id"))
_INSERT = insert(_completion)


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


def find(session: Session, tenant: str, completion_id: str, *, field: str | None = None) -> Completion:
    """The completion as it is now; raises `UnknownCompletion`, or `NotStored` for a chat with `store: false`."""
    completion = find_any(session, completion_id)
    if completion is not None and completion.tenant == tenant:
        return completion
    if session.connection().execute(_FIND_UNSTORED, {"id": completion_id}).scalar_one_or_none() == tenant:
        raise NotStored("this chat was asked for with store: false; nothing of it was kept", field=field)
    raise UnknownCompletion(f"no completion {completion_id!r}", field=field)


def find_any(session: Session, completion_id: str) -> Completion | None:
    """The completion, whoever's it is."""
    row = session.connection().execute(_FIND, {"id": completion_id}).one_or_none()
    return None if row is None else Completion._make(row)


def find_all(session: Session, completion_ids: Collection[str]) -> dict[str, Completion]:
    """Those of the completions that there are, whoever's they are."""
    rows = _find_all(session.connection(), list(completion_ids))
    return {row[0]: Completion._make(row) for row in rows}


def is_unstored(session: Session, completion_id: str) -> bool:
    """Whether the id belongs to a chat with `store: false`."""
    return session.connection().execute(_FIND_UNSTORED, {"id": completion_id}).first() is not None


def said(session: Session, row: Completion, choice: int) -> Said:
    """What the prompt was and what choice `choice` answered."""
    if row.body is None:
        return Said([], None)
    told = _told_decoder.decode(session.opened(row.body, turn_name(row.completion_id)))
    return Said(told.messages, next((c.text for c in told.choices if c.index == choice), None))


def conversation_exists(session: Session, tenant: str, conversation_id: str) -> bool:
    """Whether any turn of this conversation was recorded."""
    theirs = (_completion.c.tenant == tenant) & (_completion.c.conversation_id == conversation_id)
    return session.execute(select(_completion.c.completion_id).where(theirs).limit(1)).first() is not None


def whole(session: Session, row: Completion) -> TurnCompleted | None:
    """The turn as it ended; None while it is open or when it was lost."""
    return None if row.body is None else _body_decoder.decode(session.opened(row.body, turn_name(row.completion_id)))


def seal(session: Session, tenant: str, cleared: Cleared[TurnCompleted]) -> tuple[TurnSealed, Secrets]:
    """The turn as it is kept (its box is what `completion.body` holds) and travels, and the keys it is sealed under."""
    turn = cleared.value
    keys = session.keys_of(tenant, subject_of(turn.user, turn.conversation_id))
    return seal_turn(turn, keys), keys


def insert_complete(session: Session, tenant: str, turn: TurnCompleted, box: bytes) -> None:
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
        "body": box,
    }
    session.connection().execute(_INSERT, values)


class TurnFilter(NamedTuple):
    """Which turns are asked for; each field has an index of its own."""

    completion_ids: Sequence[str] = ()
    conversation_id: str | None = None
    user: str | None = None
    policy_version: str | None = None
    span: Span = Span()

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a row of the table has to satisfy."""
        equal = {name: getattr(self, name) for name in ("conversation_id", "user", "policy_version")}
        found = [_completion.c[name] == value for name, value in equal.items() if value is not None]
        if self.completion_ids:
            found.append(_completion.c.completion_id.in_(self.completion_ids))
        return [*found, *self.span.conditions(_completion.c.created_ms)]


def page(
    session: Session, tenant: str, wanted: TurnFilter, *, cursor: str | None, limit: int
) -> tuple[list[Completion], str | None]:
    """Turns newest first, and the cursor of the next page; raises `BadCursor`."""
    statement = page_of(_completion, "completion_id", _COLUMNS, cursor, limit)
    statement = statement.where(_completion.c.tenant == tenant, *wanted.conditions())
    rows = [Completion._make(row) for row in session.connection().execute(statement)]
    more, rows = len(rows) > limit, rows[:limit]
    return rows, to_cursor(rows[-1].created_ms, rows[-1].completion_id) if more else None


def to_turn(session: Session, row: Completion, feedback: Sequence[FeedbackRecord] = ()) -> Turn:
    """The turn as the API returns it; an open or lost one has no messages and no choices."""
    if (turn := whole(session, row)) is not None:
        return of_event(turn, feedback)
    return Turn(
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        policy_version=row.policy_version,
        status=row.status,
        origin=row.origin,
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
        redacted=turn.redacted is True,
        feedback=list(feedback),
    )
