"""Everything that concerns somebody in the service's database, and the receipts of what went."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, case, delete, func, insert, or_, select, update
from sqlmodel import Session

from thumbwheel.types import AffectedVersion, Erasure
from thumbwheel_service.db.keyring import Subject
from thumbwheel_service.db.tables import (
    CompletionRow,
    ErasureRow,
    FeedbackRevisionRow,
    FeedbackRow,
    PersonRow,
    ReviewRow,
    UnstoredRow,
    table_of,
)

_completion = table_of(CompletionRow)
_feedback = table_of(FeedbackRow)
_history = table_of(FeedbackRevisionRow)
_person = table_of(PersonRow)
_erasure = table_of(ErasureRow)
_unstored = table_of(UnstoredRow)
_review = table_of(ReviewRow)
_CHUNK = 500
_LISTED = 200
_versions = msgspec.json.Decoder(list[AffectedVersion])


class Forgotten(NamedTuple):
    """What went with somebody."""

    turns: int
    feedback: int
    keys: list[str]
    """To be destroyed."""


class Old(NamedTuple):
    """What is too old to be kept: ids."""

    turns: list[str]
    feedback: list[str]
    unstored: list[str]


def forget(session: Session, tenant: str, subject: Subject) -> Forgotten:
    """Delete what somebody said, what was answered, and what anybody said of it; the person is bound to no key then."""
    theirs = _theirs(tenant, subject)
    conversations = sorted(session.execute(select(_completion.c.conversation_id).where(theirs).distinct()).scalars())
    turns = select(_completion.c.completion_id).where(theirs)
    about = or_(_feedback.c.completion_id.in_(turns), _feedback.c.other_completion_id.in_(turns))
    if subject.kind == "user":
        about = or_(about, _feedback.c.user == subject.id)
    feedback = _delete_feedback(session, (_feedback.c.tenant == tenant) & about)
    session.execute(delete(_review).where(_review.c.completion_id.in_(turns)))
    gone = _count(session.execute(delete(_completion).where(theirs)))
    empty = _empty(session, tenant, conversations if subject.kind == "user" else [subject.id])
    for chunk in _chunks(empty):
        alone = _feedback.c.completion_id.is_(None) & _feedback.c.conversation_id.in_(chunk)
        feedback += _delete_feedback(session, (_feedback.c.tenant == tenant) & alone)
    keys = _unbind(session, tenant, [subject, *(Subject("conversation", name) for name in empty)])
    return Forgotten(gone, feedback, keys)


def users_of(session: Session, tenant: str, conversation_id: str) -> list[str]:
    """Whose turns a conversation holds, as far as they have a name."""
    mine = (_completion.c.tenant == tenant) & (_completion.c.conversation_id == conversation_id)
    named = select(_completion.c.user).where(mine, _completion.c.user.is_not(None)).distinct().limit(5)
    return [user for user in session.execute(named).scalars() if user is not None]


def subjects_of(session: Session, keys: Sequence[str]) -> list[tuple[str, Subject]]:
    """Who is bound to these keys: (tenant, subject)."""
    found: list[tuple[str, Subject]] = []
    for chunk in _chunks(keys):
        rows = session.execute(select(_person.c.tenant, _person.c.subject).where(_person.c.key_id.in_(chunk)))
        found += [(tenant, Subject(*subject.split("/", 1))) for tenant, subject in rows]
    return found


def subject_digest(tenant: str, subject: Subject) -> str:
    """`Erasure.subject_sha256`."""
    return hashlib.sha256(f"{tenant}\0{subject}".encode()).hexdigest()


def insert_erasure(session: Session, tenant: str, erasure: Erasure, keys: Sequence[str]) -> None:
    """The receipt, in the transaction that deletes."""
    row = msgspec.structs.asdict(erasure)
    row |= {"tenant": tenant, "key_ids": _encode(list(keys)), "versions": _encode(erasure.versions)}
    session.execute(insert(_erasure), row)


def mark_destroyed(session: Session, erasure_id: str) -> None:
    """Its keys are gone."""
    state = case((_erasure.c.applied_ms.is_(None), "erased"), else_="complete")
    _update(session, erasure_id, _erasure.c.state == "erasing", state=state)


def mark_applied(session: Session, erasure_id: str, applied_ms: int, versions: Sequence[AffectedVersion]) -> None:
    """The learner has done its part; what it says first counts."""
    state = case((_erasure.c.state == "erased", "complete"), else_=_erasure.c.state)
    found = {"applied_ms": applied_ms, "versions": _encode(list(versions)), "state": state}
    _update(session, erasure_id, _erasure.c.applied_ms.is_(None), **found)


def _update(session: Session, erasure_id: str, where: ColumnElement[bool], **values: Any) -> None:
    session.execute(update(_erasure).where(_erasure.c.erasure_id == erasure_id, where).values(values))


def find(session: Session, tenant: str | None, erasure_id: str) -> Erasure | None:
    """A receipt; with `tenant` None whoever asked for it."""
    mine = _erasure.c.erasure_id == erasure_id
    row = session.execute(select(_erasure).where(mine)).one_or_none()
    return None if row is None or tenant not in (None, row.tenant) else _receipt(row)


def newest(session: Session, tenant: str) -> list[Erasure]:
    """Receipts, newest first."""
    statement = select(_erasure).where(_erasure.c.tenant == tenant).order_by(_erasure.c.created_ms.desc())
    return [_receipt(row) for row in session.execute(statement.limit(_LISTED))]


def newest_of(session: Session, tenant: str, subject: Subject) -> Erasure | None:
    """The last time that somebody was erased."""
    whose = (_erasure.c.tenant == tenant) & (_erasure.c.subject_sha256 == subject_digest(tenant, subject))
    row = session.execute(select(_erasure).where(whose).order_by(_erasure.c.created_ms.desc()).limit(1)).one_or_none()
    return None if row is None else _receipt(row)


def keys_in_state(session: Session, *states: str) -> dict[str, list[str]]:
    """The keys of erasures that have come so far, by erasure."""
    rows = session.execute(select(_erasure.c.erasure_id, _erasure.c.key_ids).where(_erasure.c.state.in_(states)))
    return {erasure_id: msgspec.json.decode(keys, type=list[str]) for erasure_id, keys in rows}


def unfinished(session: Session, now: int) -> tuple[int, int]:
    """(erasures that are not complete, those of them that are past their deadline)."""
    open_ones = select(func.count()).select_from(_erasure).where(_erasure.c.state != "complete")
    late = open_ones.where(_erasure.c.deadline_ms < now)
    return session.execute(open_ones).scalar_one(), session.execute(late).scalar_one()


def retire(session: Session, now: int) -> None:
    """Keys that were to be used for ever are used no longer: from now on they have an age."""
    session.execute(update(_person).where(_person.c.used_until_ms.is_(None)).values(used_until_ms=now))


def older(session: Session, before_ms: int, *, limit: int) -> Old:
    """Some of what is from before that moment: turns, feedback on none, and the ids of chats that were not stored."""
    turns = select(_completion.c.completion_id).where(_completion.c.created_ms < before_ms)
    alone = _feedback.c.completion_id.is_(None) & (_feedback.c.updated_ms < before_ms)
    feedback = select(_feedback.c.feedback_id).where(alone)
    unstored = select(_unstored.c.completion_id).where(_unstored.c.created_ms < before_ms)
    return Old(*(list(session.execute(s.limit(limit)).scalars()) for s in (turns, feedback, unstored)))


def delete_old(session: Session, old: Old) -> int:
    """Delete it, the turns with all feedback on them; returns how many turns and pieces of feedback went."""
    about = or_(_feedback.c.completion_id.in_(old.turns), _feedback.c.other_completion_id.in_(old.turns))
    gone = _delete_feedback(session, or_(about, _feedback.c.feedback_id.in_(old.feedback)))
    session.execute(delete(_review).where(_review.c.completion_id.in_(old.turns)))
    gone += _count(session.execute(delete(_completion).where(_completion.c.completion_id.in_(old.turns))))
    session.execute(delete(_unstored).where(_unstored.c.completion_id.in_(old.unstored)))
    return gone


def unused_since(session: Session, before_ms: int, *, limit: int) -> list[str]:
    """Keys under which nothing was sealed since that moment."""
    old = select(_person.c.key_id).where(_person.c.used_until_ms < before_ms)
    return list(session.execute(old.limit(limit)).scalars())


def unbind(session: Session, keys: Sequence[str]) -> dict[str, list[str]]:
    """Nobody has these keys any more; those that somebody had, by tenant."""
    found: dict[str, list[str]] = {}
    gone = delete(_person).where(_person.c.key_id.in_(keys)).returning(_person.c.tenant, _person.c.key_id)
    for tenant, key_id in session.execute(gone):
        found.setdefault(tenant, []).append(key_id)
    return found


def _theirs(tenant: str, subject: Subject) -> ColumnElement[bool]:
    if subject.kind == "user":
        return (_completion.c.tenant == tenant) & (_completion.c.user == subject.id)
    mine = (_completion.c.tenant == tenant) & (_completion.c.conversation_id == subject.id)
    return mine & _completion.c.user.is_(None)


def _delete_feedback(session: Session, which: ColumnElement[bool]) -> int:
    ids = select(_feedback.c.feedback_id).where(which)
    session.execute(delete(_history).where(_history.c.feedback_id.in_(ids)))
    return _count(session.execute(delete(_feedback).where(which)))


def _empty(session: Session, tenant: str, conversations: Sequence[str]) -> list[str]:
    """Those of the conversations in which no turn is left."""
    left: set[str] = set()
    for chunk in _chunks(conversations):
        some = (_completion.c.tenant == tenant) & _completion.c.conversation_id.in_(chunk)
        left.update(session.execute(select(_completion.c.conversation_id).where(some).distinct()).scalars())
    return [name for name in conversations if name not in left]


def _unbind(session: Session, tenant: str, subjects: Sequence[Subject]) -> list[str]:
    keys: list[str] = []
    for chunk in _chunks([str(subject) for subject in subjects]):
        these = (_person.c.tenant == tenant) & _person.c.subject.in_(chunk)
        keys += session.execute(delete(_person).where(these).returning(_person.c.key_id)).scalars()
    return sorted(keys)


def _receipt(row: Any) -> Erasure:
    return Erasure(
        erasure_id=row.erasure_id,
        subject_sha256=row.subject_sha256,
        state=row.state,
        turns=row.turns,
        feedback=row.feedback,
        created_ms=row.created_ms,
        deadline_ms=row.deadline_ms,
        applied_ms=row.applied_ms,
        versions=_versions.decode(row.versions),
    )


def _chunks(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))


def _count(result: Any) -> int:
    return int(result.rowcount)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
