"""Append events to the log inside the caller's transaction, with dense offsets whose order is commit order."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection
from sqlmodel import Session

from thumbwheel.bus import NewRecord, TopicPartition, partition_of
from thumbwheel.events import TOPICS, Envelope, encode, now_ms, topic_and_key
from thumbwheel_service.db.bulk import Direct, Insert
from thumbwheel_service.db.tables import LogRow, table_of
from thumbwheel_service.errors import BadInput
from thumbwheel_service.log.signal import APPENDED

_log = table_of(LogRow)
_KNOWN = select(_log.c.event_id).where(_log.c.event_id.in_(bindparam("ids", expanding=True)))
_insert = Insert(_log, ("topic", "partition", "offset", "key", "event_id", "value", "created_ms"))
_reserve = Direct('UPDATE log_head SET next = next + ? WHERE topic = ? AND "partition" = ? RETURNING next')
_begin = Direct('INSERT INTO log_head (topic, "partition", next, first) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING')


class UnknownTopic(BadInput):
    """Nobody reads that topic."""


def append_events(session: Session, envelopes: Sequence[Envelope], *, fresh: bool = False) -> int:
    """Append our own events; returns how many were new. `fresh`: none of them can be there, so nobody looks."""
    records: list[NewRecord] = []
    for envelope in envelopes:
        topic, key = topic_and_key(envelope.event)
        records.append(NewRecord(topic.name, key, envelope.event_id, encode(envelope)))
    return append_records(session, records, fresh=fresh)


def append_records(session: Session, records: Sequence[NewRecord], *, fresh: bool = False) -> int:
    """Append records, skipping event ids that are already there; raises `UnknownTopic`.

    Partition heads are updated in sorted order, so that two writers never wait for each other in a circle.
    """
    for record in records:
        if record.topic not in TOPICS:
            raise UnknownTopic(f"unknown topic {record.topic!r}", field="records[].topic")
    if not records:
        return 0
    connection = session.connection()
    ids = [] if fresh else [record.event_id for record in records]
    known = set(connection.execute(_KNOWN, {"ids": ids}).scalars()) if ids else set[str]()
    groups: dict[tuple[str, int], dict[str, NewRecord]] = defaultdict(dict)
    for record in records:
        if record.event_id not in known:
            partition = partition_of(record.key, TOPICS[record.topic].partitions)
            groups[record.topic, partition].setdefault(record.event_id, record)
    created = now_ms()
    grown: set[TopicPartition] = session.info.setdefault(APPENDED, set())
    rows: list[tuple[Any, ...]] = []
    for (topic, partition), new in sorted(groups.items()):
        offset = _take(connection, topic, partition, len(new))
        rows += [
            (topic, partition, offset + i, record.key, record.event_id, record.value, created)
            for i, record in enumerate(new.values())
        ]
        grown.add(TopicPartition(topic, partition))
    _insert.each(connection, rows)
    last = {(topic, partition, key): offset for topic, partition, offset, key, *_ in rows if TOPICS[topic].compacted}
    for (topic, partition, key), offset in last.items():
        _compact(session, topic, partition, key, offset)
    return len(rows)


def _compact(session: Session, topic: str, partition: int, key: str, offset: int) -> None:
    """Of a compacted topic only the last record of a key stays, as on Kafka; the offsets of the others are gaps."""
    older = (_log.c.topic == topic, _log.c.partition == partition, _log.c.key == key, _log.c.offset < offset)
    session.execute(delete(_log).where(*older))


def _take(connection: Connection, topic: str, partition: int, count: int) -> int:
    """Take `count` offsets of a partition; returns the first."""
    reached = _reserve.rows(connection, count, topic, partition)
    if not reached:
        _begin.each(connection, [(topic, partition)])
        reached = _reserve.rows(connection, count, topic, partition)
    return int(reached[0][0]) - count
