"""People to be forgotten: their rows go, and what comes late under their keys is not stored."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import delete, or_, select, update
from sqlmodel import Session

from thumbwheel.events import PersonErased
from thumbwheel_learner.store.insert import insert_if_new
from thumbwheel_learner.store.tables import (
    ErasedKeyRow,
    ErasureRow,
    FeedbackRow,
    QuestionRow,
    TurnRow,
    VerdictRow,
    table_of,
)

K = TypeVar("K")
_keys = table_of(ErasedKeyRow)
_erasure = table_of(ErasureRow)
_question = table_of(QuestionRow)
_CHUNK = 200


class Erasure(NamedTuple):
    """What one erasure took out of the store."""

    erasure_id: str
    tenant: str
    keys: frozenset[str]
    turns: int
    feedback: int


def remember(session: Session, erased: Iterable[tuple[str, PersonErased]]) -> None:
    """Delete what is stored under the keys of these erasures (each with its tenant), and note it."""
    for tenant, event in erased:
        if session.get(ErasureRow, event.erasure_id) is not None:
            continue
        keys = [{"key_id": key_id, "erasure_id": event.erasure_id} for key_id in event.keys]
        insert_if_new(session, ErasedKeyRow, keys)
        row = {
            "erasure_id": event.erasure_id,
            "tenant": tenant,
            "key_ids": ",".join(event.keys),
            "turns": _delete(session, TurnRow, event.keys),
            "feedback": _delete(session, FeedbackRow, event.keys),
            "created_ms": event.created_ms,
            "applied": False,
        }
        insert_if_new(session, ErasureRow, [row])
        _delete(session, VerdictRow, event.keys)
        _withdraw(session, event.keys)


def leave_out(session: Session, rows: dict[K, dict[str, Any]]) -> None:
    """Drop the rows that are sealed under a destroyed key."""
    named = {key_id for row in rows.values() for key_id in row["key_ids"].split(",") if key_id}
    gone = _gone(session, sorted(named))
    if gone:
        for key in [key for key, row in rows.items() if not gone.isdisjoint(row["key_ids"].split(","))]:
            del rows[key]


def unapplied(session: Session) -> list[Erasure]:
    """Erasures that the service has not been told of, oldest first."""
    rows = session.execute(select(_erasure).where(_erasure.c.applied.is_(False)).order_by(_erasure.c.created_ms))
    return [
        Erasure(row.erasure_id, row.tenant, frozenset(row.key_ids.split(",")) - {""}, row.turns, row.feedback)
        for row in rows
    ]


def mark_applied(session: Session, erasure_id: str) -> None:
    """The service has been told."""
    session.execute(update(_erasure).where(_erasure.c.erasure_id == erasure_id).values(applied=True))


def _gone(session: Session, ids: list[str]) -> set[str]:
    if not ids or session.execute(select(_keys.c.key_id).limit(1)).first() is None:
        return set()
    found: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        these = _keys.c.key_id.in_(ids[start : start + _CHUNK])
        found.update(session.execute(select(_keys.c.key_id).where(these)).scalars())
    return found


def _withdraw(session: Session, keys: list[str]) -> None:
    """Empty the questions under these keys: the bus is told of those that are open, which takes the boxes off it."""
    for start in range(0, len(keys), _CHUNK):
        held = or_(*(_question.c.key_ids.contains(key_id) for key_id in keys[start : start + _CHUNK]))
        session.execute(delete(_question).where(held, _question.c.state.in_(("answered", "erased"))))
        session.execute(update(_question).where(held).values(state="erased", told=False, key_ids="", body=b""))


def _delete(session: Session, table: type[TurnRow | FeedbackRow | VerdictRow], keys: list[str]) -> int:
    """By a scan of the table: erasures are rare, and an index over several keys per row would slow every insert."""
    column, gone = table_of(table).c.key_ids, 0
    for start in range(0, len(keys), _CHUNK):
        held = or_(*(column.contains(key_id) for key_id in keys[start : start + _CHUNK]))
        result: Any = session.execute(delete(table_of(table)).where(held))
        gone += result.rowcount
    return gone
