"""From bus records to rows, inside the caller's transaction: whatever the order or number of deliveries, one result."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ARRAY, Select, Table, and_, bindparam, func, or_, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, col, select

from thumbwheel import box
from thumbwheel.bus import Record, TopicPartition, key_bytes
from thumbwheel.events import (
    DeadLettered,
    DeadLetterSettled,
    Envelope,
    ErasureApplied,
    FeedbackRecorded,
    FeedbackSealed,
    LearnerCommand,
    LearnerReported,
    PersonErased,
    PolicyPublished,
    PolicyRejected,
    PolicyRouted,
    ReviewAsked,
    ReviewWithdrawn,
    TurnCompleted,
    TurnSealed,
    now_ms,
    topic_and_key,
)
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.store import erasures, questions
from thumbwheel_learner.store.examine import Accepted, Rejected
from thumbwheel_learner.store.insert import insert_if_new, insert_into
from thumbwheel_learner.store.tables import (
    CommandRow,
    DeadLetterRow,
    FeedbackRow,
    LearnerTable,
    OffsetRow,
    PolicyRow,
    TurnRow,
    table_of,
)

K = TypeVar("K")

_LONGEST_REASON = 2_000
STATUS_RANK = {"open": 0, "lost": 1, "cut": 2, "complete": 3}


class OffsetMoved(LearnerError):
    """The stored offset is not the expected one: somebody else stored records of this partition; start over from it."""


def stored_offset(session: Session, partition: TopicPartition) -> int:
    """Where to read next: 0 for a partition never seen."""
    statement = select(OffsetRow.next).where(
        OffsetRow.topic == partition.topic, OffsetRow.partition == partition.partition
    )
    return session.exec(statement).first() or 0


def stored_offsets(session: Session) -> dict[TopicPartition, int]:
    """Where to read next, of every partition of which anything is stored."""
    return {TopicPartition(row.topic, row.partition): row.next for row in session.exec(select(OffsetRow))}


def move_offset(session: Session, partition: TopicPartition, *, expected: int, reached: int) -> None:
    """Move the stored offset, in the transaction that stores the rows before it; raises `OffsetMoved`."""
    if expected == 0:
        insert_if_new(session, OffsetRow, [{"topic": partition.topic, "partition": partition.partition, "next": 0}])
    statement = (
        update(OffsetRow)
        .where(
            col(OffsetRow.topic) == partition.topic,
            col(OffsetRow.partition) == partition.partition,
            col(OffsetRow.next) == expected,
        )
        .values(next=reached)
    )
    if session.connection().execute(statement).rowcount != 1:
        raise OffsetMoved(f"{partition.topic}/{partition.partition}: the stored offset is no longer {expected}")


def store_batch(session: Session, accepted: Sequence[Accepted], rejected: Sequence[Rejected]) -> None:
    """Write rows and dead letters; the highest rank or revision wins, whichever came first."""
    now = now_ms()
    turns: dict[tuple[str, str], dict[str, Any]] = {}
    feedback: dict[tuple[str, str], dict[str, Any]] = {}
    policies: dict[str, dict[str, Any]] = {}
    commands: dict[str, dict[str, Any]] = {}
    erased: dict[str, tuple[str, PersonErased]] = {}
    asked: dict[str, dict[str, Any]] = {}
    withdrawn: list[ReviewWithdrawn] = []
    for record, envelope in accepted:
        match envelope.event:
            case TurnCompleted() | TurnSealed() as event:
                _keep(turns, (envelope.tenant, event.completion_id), _turn(record, envelope, event, now), _TURN_ORDER)
            case FeedbackRecorded() | FeedbackSealed() as event:
                row = _feedback(record, envelope, event, now)
                _keep(feedback, (envelope.tenant, event.feedback_id), row, _FEEDBACK_ORDER)
            case PolicyPublished() | PolicyRouted() | PolicyRejected() as event:
                _keep(policies, topic_and_key(event)[1], _policy(record, envelope, event), _POLICY_ORDER)
            case LearnerCommand() as event:
                commands[envelope.event_id] = {
                    "event_id": envelope.event_id,
                    "command": event.command,
                    "stages": ",".join(event.stages),
                    "created_ms": event.created_ms,
                    "handled": False,
                }
            case PersonErased() as event:
                erased[event.erasure_id] = (envelope.tenant, event)
            case ReviewAsked() as event:
                asked[event.review_id] = questions.row_of(envelope, event, told=True)
            case ReviewWithdrawn() as event:
                withdrawn.append(event)
            case LearnerReported() | DeadLettered() | DeadLetterSettled() | ErasureApplied():
                pass
    erasures.remember(session, erased.values())
    erasures.leave_out(session, turns)
    erasures.leave_out(session, feedback)
    _keep_highest(session, TurnRow, turns.values(), ("tenant", "completion_id"), _TURN_ORDER)
    _keep_highest(session, FeedbackRow, feedback.values(), ("tenant", "feedback_id"), _FEEDBACK_ORDER)
    _keep_highest(session, PolicyRow, policies.values(), ("key",), _POLICY_ORDER)
    questions.hear(session, asked, withdrawn)
    insert_if_new(session, CommandRow, list(commands.values()))
    insert_if_new(session, DeadLetterRow, [_dead_letter(item, now) for item in rejected])


_TURN_ORDER = ("rank", "finished_ms", "event_id")
_FEEDBACK_ORDER = ("revision", "event_id")
_POLICY_ORDER = ("rank", "event_id")


def _turn(record: Record, envelope: Envelope, event: TurnCompleted | TurnSealed, now: int) -> dict[str, Any]:
    return {
        "tenant": envelope.tenant,
        "completion_id": event.completion_id,
        "event_id": envelope.event_id,
        "rank": STATUS_RANK[event.status],
        "finished_ms": event.finished_ms,
        "conversation_id": event.conversation_id,
        "policy_version": event.policy_version,
        "status": event.status,
        "origin": event.origin,
        "created_ms": event.created_ms,
        "stored_ms": now,
        "key_ids": ",".join(box.key_ids(event.box)) if isinstance(event, TurnSealed) else "",
        "body": record.value,
    }


def _feedback(record: Record, envelope: Envelope, event: FeedbackRecorded | FeedbackSealed, now: int) -> dict[str, Any]:
    sealed = isinstance(event, FeedbackSealed)
    return {
        "tenant": envelope.tenant,
        "feedback_id": event.feedback_id,
        "revision": event.revision,
        "event_id": envelope.event_id,
        "digest": hashlib.sha256(msgspec.json.encode(event, order="sorted")).hexdigest(),
        "kind": event.kind if sealed else str(event.feedback.__struct_config__.tag),
        "retracted": event.retracted,
        "turn_status": event.turn_status,
        "completion_id": event.completion_id,
        "created_ms": event.created_ms,
        "stored_ms": now,
        "key_ids": ",".join(box.key_ids(event.box)) if sealed else "",
        "body": record.value,
    }


def _policy(
    record: Record, envelope: Envelope, event: PolicyPublished | PolicyRouted | PolicyRejected
) -> dict[str, Any]:
    return {
        "key": topic_and_key(event)[1],
        "rank": event.epoch if isinstance(event, PolicyRouted) else event.created_ms,
        "event_id": envelope.event_id,
        "version": event.version,
        "body": record.value,
    }


def _dead_letter(item: Rejected, now: int) -> dict[str, Any]:
    record, reason = item
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "reason": _storable(reason),
        "key": key_bytes(record.key),
        "value": record.value,
        "created_ms": now,
        "announced": False,
    }


def _storable(reason: str) -> str:
    """What every database can hold: a reason may quote the record that it speaks of."""
    said = reason.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"


def _keep(rows: dict[K, dict[str, Any]], key: K, row: dict[str, Any], order: tuple[str, ...]) -> None:
    """Within one batch: one row per key, the highest (PostgreSQL refuses two of the same in one statement)."""
    held = rows.get(key)
    if held is None or [row[c] for c in order] > [held[c] for c in order]:
        rows[key] = row


def _keep_highest(
    session: Session,
    table: type[LearnerTable],
    rows: Iterable[dict[str, Any]],
    keys: tuple[str, ...],
    order: tuple[str, ...],
) -> None:
    """Upsert, only where the new row is higher by `order` (compared as a tuple), or the same and damaged here.

    The same event has the same content whenever it comes: where the stored row says something else, the bus is right.
    """
    values = list(rows)
    if values:
        names = tuple(values[0])
        connection = session.connection()
        statement, parameters = _compiled(connection.dialect.name, table_of(table), names, keys, order)
        connection.exec_driver_sql(statement, parameters(values))


@cache
def _compiled(
    dialect: str, target: Table, names: tuple[str, ...], keys: tuple[str, ...], order: tuple[str, ...]
) -> tuple[str, Callable[[list[dict[str, Any]]], Any]]:
    """The upsert as the driver takes it, and what makes its parameters of the rows: compiled once.

    SQLite is asked row by row, which costs it nothing; PostgreSQL gets one statement with an array for each column.
    """
    statement = insert_into(dialect, target)
    if dialect == "postgresql":
        statement = statement.from_select(names, _unnested(target, names))
    new = statement.excluded
    last = target.c[order[-1]]
    higher: ColumnElement[bool] = new[last.name] > (last.collate("C") if dialect == "postgresql" else last)
    for name in reversed(order[:-1]):
        higher = or_(new[name] > target.c[name], (new[name] == target.c[name]) & higher)
    told = [name for name in names if name not in (*keys, *order, "stored_ms")]
    same = and_(*(new[name] == target.c[name] for name in order))
    damaged = or_(*(new[name].is_distinct_from(target.c[name]) for name in told))
    upsert = statement.on_conflict_do_update(
        index_elements=list(keys),
        set_={name: new[name] for name in names if name not in keys},
        where=or_(higher, and_(same, damaged)),
    )
    if dialect == "postgresql":
        text = str(upsert.compile(dialect=psycopg.dialect()))
        for name in names:
            text = text.replace(f"%({name})s", f"%({name})b")
        return text, lambda rows: {name: [row[name] for row in rows] for name in names}
    compiled = upsert.compile(dialect=sqlite.dialect(), column_keys=list(names))
    binds = itemgetter(*(compiled.positiontup or ()))
    return str(compiled), lambda rows: [binds(row) for row in rows]


def _unnested(target: Table, names: Sequence[str]) -> Select[Any]:
    """Rows of arrays, column by column; in psycopg's binary form a body travels as it is."""
    arrays = [bindparam(name, type_=ARRAY(target.c[name].type)) for name in names]
    rows = func.unnest(*arrays).table_valued(*names).render_derived(name="given")
    return select(*(rows.c[name] for name in names))
