"""Feedback in the database: current rows, their revisions, and events that wait for a turn to end."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, select, update

from thumbwheel.box import Secrets
from thumbwheel.events import Envelope
from thumbwheel.types import Feedback, FeedbackRecord, Kind
from thumbwheel_service.db.bulk import Among, Insert
from thumbwheel_service.db.pages import Span, merged, page_of, to_cursor
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import FeedbackRevisionRow, table_of
from thumbwheel_service.feedback.events import recorded
from thumbwheel_service.feedback.rows import COLUMNS, FEEDBACK, Piece, open_body, read_record, seal_body, to_record
from thumbwheel_service.feedback.target import Target, concerned, find_again
from thumbwheel_service.log.append import append_events
from thumbwheel_service.redaction.cleared import Cleared

_history = table_of(FeedbackRevisionRow)
_own_id = FEEDBACK.c.feedback_id == bindparam("id")
_BY_KEY = select(*COLUMNS).where(
    FEEDBACK.c.tenant == bindparam("tenant"), FEEDBACK.c.natural_key == bindparam("natural_key")
)
_taken = Among(FEEDBACK, ["natural_key"], "natural_key", equal=["tenant"])
_BY_ID = select(*COLUMNS).where(_own_id)
_insert = Insert(FEEDBACK, Piece._fields)
_insert_revisions = Insert(_history, ("feedback_id", "revision", "retracted", "created_ms", "body"))
_CHANGED = ("revision", "retracted", "pending_event", "updated_ms", "body")
_UPDATE = update(FEEDBACK).where(_own_id).values({name: bindparam(f"new_{name}") for name in _CHANGED})
_TOLD = update(FEEDBACK).where(_own_id).values(pending_event=False)
_WAITING = select(*COLUMNS).where(
    FEEDBACK.c.pending_event,
    (FEEDBACK.c.completion_id == bindparam("id")) | (FEEDBACK.c.other_completion_id == bindparam("id")),
)


class Revision(NamedTuple):
    """One line of the history."""

    revision: int
    retracted: bool
    created_ms: int
    feedback: Feedback


def by_natural_key(session: Session, tenant: str, natural_key: str) -> Piece | None:
    """The current row of a natural key."""
    found = session.connection().execute(_BY_KEY, {"tenant": tenant, "natural_key": natural_key}).one_or_none()
    return None if found is None else Piece._make(found)


def taken(session: Session, tenant: str, natural_keys: Sequence[str]) -> set[str]:
    """Those of the natural keys that have a row."""
    return {key for (key,) in _taken(session.connection(), natural_keys, tenant)}


def by_id(session: Session, feedback_id: str) -> Piece | None:
    """The current row of an id, whoever's it is."""
    found = session.connection().execute(_BY_ID, {"id": feedback_id}).one_or_none()
    return None if found is None else Piece._make(found)


class New(NamedTuple):
    """A first revision to be stored."""

    tenant: str
    cleared: Cleared[Feedback]
    target: Target
    keys: Secrets
    review_id: str | None = None
    """The question that it answers."""


def create(session: Session, new: Sequence[New], *, moment: int) -> list[FeedbackRecord]:
    """Store first revisions with their events, except for those on turns that are still open."""
    rows = [_first(one, moment) for one in new]
    connection = session.connection()
    _insert.each(connection, rows)
    _insert_revisions.each(connection, [_line(row) for row in rows])
    told = [
        recorded(session, row, one.cleared.value, one.target, one.keys)
        for row, one in zip(rows, new, strict=True)
        if not one.target.is_open
    ]
    append_events(session, told, fresh=True)
    return [to_record(row, one.cleared.value) for row, one in zip(rows, new, strict=True)]


def _first(new: New, moment: int) -> Piece:
    tenant, cleared, target, keys, review_id = new
    feedback, completion = cleared.value, target.completion
    return Piece(
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
        body=seal_body(target.feedback_id, feedback, keys),
        review_id=review_id,
    )


def revise(
    session: Session,
    row: Piece,
    cleared: Cleared[Feedback],
    target: Target,
    keys: Secrets,
    *,
    retracted: bool,
    moment: int,
) -> FeedbackRecord:
    """Replace the current content by one more revision, with its event unless the turn is still open."""
    feedback = cleared.value
    row = row._replace(
        revision=row.revision + 1,
        retracted=retracted,
        pending_event=target.is_open,
        updated_ms=moment,
        body=seal_body(row.feedback_id, feedback, keys),
    )
    change = {f"new_{name}": getattr(row, name) for name in _CHANGED}
    session.connection().execute(_UPDATE, change | {"id": row.feedback_id})
    _note(session, row, feedback, target, keys)
    return to_record(row, feedback)


def _note(session: Session, row: Piece, feedback: Feedback, target: Target, keys: Secrets) -> None:
    """Write the history's row, and the event when there is nothing to wait for."""
    _insert_revisions.each(session.connection(), [_line(row)])
    if not target.is_open:
        append_events(session, [recorded(session, row, feedback, target, keys)])


def _line(row: Piece) -> tuple[Any, ...]:
    """The history's row."""
    return row.feedback_id, row.revision, row.retracted, row.updated_ms, row.body


def flush_pending(session: Session, completion_id: str) -> int:
    """Write the events that waited for this turn; returns how many.

    Called by whoever ends a turn, in the same transaction, after the turn's row and body are written. Of feedback
    that changed meanwhile only the latest revision becomes an event; the history has the others. A comparison goes on
    waiting while its other side is open.
    """
    events: list[Envelope] = []
    connection = session.connection()
    for found in connection.execute(_WAITING, {"id": completion_id}).all():
        row = Piece._make(found)
        feedback = open_body(session, row.feedback_id, row.body)
        target = find_again(session, row.tenant, feedback, row.feedback_id, row.natural_key)
        if not target.is_open:
            keys = session.keys_of(row.tenant, *concerned(target, feedback.user))
            events.append(recorded(session, row, feedback, target, keys))
            connection.execute(_TOLD, {"id": row.feedback_id})
    append_events(session, events)
    return len(events)


def revisions(session: Session, feedback_id: str) -> list[Revision]:
    """Every revision, oldest first."""
    columns = (_history.c.revision, _history.c.retracted, _history.c.created_ms, _history.c.body)
    statement = select(*columns).where(_history.c.feedback_id == feedback_id).order_by(_history.c.revision)
    lines = session.execute(statement).all()
    return [
        Revision(number, gone, moment, open_body(session, feedback_id, body)) for number, gone, moment, body in lines
    ]


def of_completions(session: Session, tenant: str, completion_ids: Sequence[str]) -> dict[str, list[FeedbackRecord]]:
    """Current feedback per completion, oldest first."""
    statement = (
        select(*COLUMNS)
        .where(FEEDBACK.c.tenant == tenant, FEEDBACK.c.completion_id.in_(completion_ids))
        .order_by(FEEDBACK.c.created_ms, FEEDBACK.c.feedback_id)
    )
    spoken: dict[str, list[FeedbackRecord]] = {identifier: [] for identifier in completion_ids}
    for row in map(Piece._make, session.execute(statement)):
        spoken[row.completion_id or ""].append(read_record(session, row))
    return spoken


class FeedbackFilter(NamedTuple):
    """Which feedback is asked for; each field has an index of its own."""

    completion_id: str | None = None
    conversation_id: str | None = None
    user: str | None = None
    policy_version: str | None = None
    kinds: Sequence[Kind] = ()
    retracted: bool | None = None
    span: Span = Span()

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a row of the table has to satisfy, whatever its kind."""
        equal = {name: getattr(self, name) for name in ("completion_id", "conversation_id", "user", "policy_version")}
        found = [FEEDBACK.c[name] == value for name, value in equal.items() if value is not None]
        if self.retracted is not None:
            found.append(FEEDBACK.c.retracted if self.retracted else ~FEEDBACK.c.retracted)
        return [*found, *self.span.conditions(FEEDBACK.c.created_ms)]


def page(
    session: Session, tenant: str, wanted: FeedbackFilter, *, cursor: str | None, limit: int
) -> tuple[list[FeedbackRecord], str | None]:
    """Feedback newest first, and the cursor of the next page; raises `BadCursor`."""
    every = page_of(FEEDBACK, "feedback_id", COLUMNS, cursor, limit)
    every = every.where(FEEDBACK.c.tenant == tenant, *wanted.conditions())
    by_kind = [every.where(FEEDBACK.c.kind == kind) for kind in sorted(set(wanted.kinds))]
    statement = merged(by_kind or [every], "feedback_id", limit)
    rows = [Piece._make(row) for row in session.execute(statement)]
    following = to_cursor(rows[limit - 1].created_ms, rows[limit - 1].feedback_id) if len(rows) > limit else None
    return [read_record(session, row) for row in rows[:limit]], following
