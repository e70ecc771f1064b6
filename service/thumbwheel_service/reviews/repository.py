"""Questions in the database."""

from typing import Any, NamedTuple, cast

from sqlalchemy import bindparam, insert, select, update

from thumbwheel.events import ReviewAsked
from thumbwheel.sealed import read_review, review_name
from thumbwheel.types import Review, ReviewKind
from thumbwheel_service.db.keyring import PersonErased
from thumbwheel_service.db.pages import page_of, to_cursor
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import ReviewRow, table_of
from thumbwheel_service.turns import repository as turns
from thumbwheel_service.turns.repository import Completion

_review = table_of(ReviewRow)


class Question(NamedTuple):
    """A row of the table; the fields are its columns."""

    review_id: str
    tenant: str
    kind: ReviewKind
    conversation_id: str
    completion_id: str
    choice: int
    acquisition: str
    score: float
    random: bool
    reward_model: str
    state: str
    created_ms: int
    expires_ms: int
    body: bytes

    def is_open(self, now: int) -> bool:
        """Whether it can be answered at that moment."""
        return self.state == "open" and now < self.expires_ms


_COLUMNS = [_review.c[name] for name in Question._fields]
_FIND = select(*_COLUMNS).where(_review.c.review_id == bindparam("id"))


def find(session: Session, review_id: str) -> Question | None:
    """A question, whoever's it is."""
    row = session.execute(_FIND, {"id": review_id}).one_or_none()
    return None if row is None else Question._make(row)


def insert_asked(session: Session, tenant: str, event: ReviewAsked) -> None:
    """Store a question that is not there yet."""
    row: dict[str, Any] = {name: getattr(event, name) for name in Question._fields if hasattr(event, name)}
    row |= {"tenant": tenant, "state": "open", "created_ms": event.asked_ms, "body": event.box}
    session.execute(insert(_review), row)


def close(session: Session, review_id: str, state: str, moment: int, feedback_id: str | None = None) -> bool:
    """Close a question; False when it is not open."""
    mine = (_review.c.review_id == review_id, _review.c.state == "open")
    closed = update(_review).where(*mine).values(state=state, closed_ms=moment, feedback_id=feedback_id)
    return int(cast(Any, session.execute(closed)).rowcount) == 1


def open_page(
    session: Session, tenant: str, now: int, *, cursor: str | None, limit: int
) -> tuple[list[Review], str | None]:
    """Open questions newest first, and the cursor of the next page; raises `BadCursor`.

    One whose turn cannot be read any more, because somebody is being erased just now, is left out.
    """
    statement = page_of(_review, "review_id", _COLUMNS, cursor, limit)
    statement = statement.where(_review.c.tenant == tenant, _review.c.state == "open", _review.c.expires_ms > now)
    rows = [Question._make(row) for row in session.execute(statement)]
    more, rows = len(rows) > limit, rows[:limit]
    completions = turns.find_all(session, [row.completion_id for row in rows])
    found = [_read(session, row, completions.get(row.completion_id)) for row in rows]
    following = to_cursor(rows[-1].created_ms, rows[-1].review_id) if more else None
    return [review for review in found if review is not None], following


def other_answer(session: Session, row: Question) -> str | None:
    """The second answer of a comparison; raises `PersonErased`."""
    return read_review(session.opened(row.body, review_name(row.review_id))).other_answer


def _read(session: Session, row: Question, completion: Completion | None) -> Review | None:
    if completion is None:
        return None
    try:
        said = turns.said(session, completion, row.choice)
        other = other_answer(session, row)
    except PersonErased:
        return None
    return Review(
        review_id=row.review_id,
        kind=row.kind,
        conversation_id=row.conversation_id,
        completion_id=row.completion_id,
        choice=row.choice,
        policy_version=completion.policy_version,
        messages=said.messages,
        answer=said.answer or "",
        other_answer=other,
        acquisition=row.acquisition,
        score=row.score,
        random=row.random,
        reward_model=row.reward_model,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
    )
