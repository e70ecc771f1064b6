"""Questions to people in the learner's database, and what of them the bus has not been told yet."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from thumbwheel import box
from thumbwheel.events import Envelope, ReviewAsked, ReviewWithdrawn, encode
from thumbwheel_learner.store.erasures import leave_out
from thumbwheel_learner.store.insert import insert_if_new
from thumbwheel_learner.store.session import reading, writing
from thumbwheel_learner.store.tables import QuestionRow

CLAIMED = ("open", "answered", "expired")
"""States of questions that somebody was or is asked; the others have cost nobody any time."""


def row_of(envelope: Envelope, event: ReviewAsked, *, told: bool) -> dict[str, Any]:
    """A question as it is stored."""
    return {
        "review_id": event.review_id,
        "tenant": envelope.tenant,
        "kind": event.kind,
        "conversation_id": event.conversation_id,
        "completion_id": event.completion_id,
        "random": event.random,
        "state": "open",
        "asked_ms": event.asked_ms,
        "expires_ms": event.expires_ms,
        "told": told,
        "key_ids": ",".join(box.key_ids(event.box)) if box.is_box(event.box) else "",
        "body": encode(envelope),
    }


def open_questions(session: Session) -> list[QuestionRow]:
    """Those that wait for an answer, oldest first."""
    waiting = select(QuestionRow).where(QuestionRow.state == "open")
    return list(session.exec(waiting.order_by(col(QuestionRow.asked_ms), col(QuestionRow.review_id))))


def claimed_since(session: Session, moment: int) -> list[tuple[str, bool]]:
    """(completion, whether of the random slice) of the questions asked since that moment that were not taken back."""
    which = (QuestionRow.asked_ms > moment, col(QuestionRow.state).in_(CLAIMED))
    return list(session.exec(select(QuestionRow.completion_id, QuestionRow.random).where(*which)))


def times_asked(session: Session, completions: Collection[str]) -> Counter[str]:
    """How often people were or are asked about these completions."""
    which = (col(QuestionRow.completion_id).in_(list(completions)), col(QuestionRow.state).in_(CLAIMED))
    return Counter(session.exec(select(QuestionRow.completion_id).where(*which)).all())


def claimed_completions(session: Session) -> set[tuple[str, str]]:
    """(tenant, completion) of everything that was or is asked about: nobody is asked that twice."""
    asked = select(QuestionRow.tenant, QuestionRow.completion_id).where(col(QuestionRow.state).in_(CLAIMED))
    return {(tenant, completion) for tenant, completion in session.exec(asked)}


def change(engine: Engine, asked: Sequence[tuple[Envelope, ReviewAsked]], withdrawn: Collection[str]) -> int:
    """Ask and take back in one transaction; returns how many are asked: none about somebody who was erased meanwhile.

    What is not open any more is not taken back: somebody has answered it.
    """
    rows = {event.review_id: row_of(envelope, event, told=False) for envelope, event in asked}
    with writing(engine) as session:
        leave_out(session, rows)
        insert_if_new(session, QuestionRow, list(rows.values()))
        _close(session, col(QuestionRow.review_id).in_(list(withdrawn)), "reranked")
    return len(rows)


def expire(engine: Engine, now: int) -> int:
    """Close what is too late; returns how many."""
    with writing(engine) as session:
        return _close(session, col(QuestionRow.expires_ms) <= now, "expired")


def untold(engine: Engine, limit: int) -> list[QuestionRow]:
    """Questions whose state the bus does not have yet, oldest first."""
    with reading(engine) as session:
        waiting = select(QuestionRow).where(col(QuestionRow.told).is_(False), QuestionRow.state != "answered")
        ordered = waiting.order_by(col(QuestionRow.asked_ms), col(QuestionRow.review_id))
        return list(session.exec(ordered.limit(limit)))


def mark_told(engine: Engine, rows: Iterable[QuestionRow]) -> None:
    """The bus has them, unless their state has changed since they were read; of the erased nothing is left."""
    with writing(engine) as session:
        for row in rows:
            stored = session.get(QuestionRow, row.review_id)
            if stored is None or stored.state != row.state:
                continue
            if stored.state == "erased":
                session.delete(stored)
            else:
                stored.told = True


def hear(session: Session, asked: dict[str, dict[str, Any]], withdrawn: Sequence[ReviewWithdrawn]) -> None:
    """What the bus says of questions, our own words among it: what is closed stays so, but for an answer."""
    if not asked and not withdrawn:
        return
    leave_out(session, asked)
    insert_if_new(session, QuestionRow, list(asked.values()))
    ours = (col(QuestionRow.review_id).in_(list(asked)), col(QuestionRow.state) == "open")
    session.connection().execute(update(QuestionRow).where(*ours).values(told=True))
    for event in withdrawn:
        row = session.get(QuestionRow, event.review_id)
        if row is not None and (row.state == "open" or (event.reason == "answered" and row.state != "erased")):
            row.state, row.told = event.reason, True
            session.flush()


def _close(session: Session, which: Any, state: str) -> int:
    closed = update(QuestionRow).where(col(QuestionRow.state) == "open", which).values(state=state, told=False)
    result: Any = session.connection().execute(closed)
    return int(result.rowcount)
