"""Removing old rows of the log, inside the writer's transaction: never one that somebody still needs."""

from collections.abc import Mapping

from sqlalchemy import delete, select, update
from sqlmodel import Session

from thumbwheel.bus import TopicPartition
from thumbwheel.events import TOPICS
from thumbwheel.types import LogStatus
from thumbwheel_service.db.tables import LogHead, LogRow, RelayRow, table_of

_log, _head, _relay = table_of(LogRow), table_of(LogHead), table_of(RelayRow)
PARTITIONS = tuple(
    TopicPartition(topic.name, p) for topic in TOPICS.values() if not topic.compacted for p in range(topic.partitions)
)
"""What can be pruned. A compacted topic is cut by its keys alone: the last record of a key stays for ever."""


def prune(
    session: Session, at: TopicPartition, *, stored: int, written_before_ms: int, relayed: bool, limit: int
) -> int:
    """Remove the oldest rows of a partition, at most `limit`, and move its beginning; returns how many went.

    A row goes when the learner has stored it (`stored` is its next offset of this log), when it was written before
    that moment, and, where Kafka is the bus, when it has been carried there. Nothing goes when the learner claims to
    have stored more than there is: it speaks of another log.
    """
    here = (_log.c.topic == at.topic, _log.c.partition == at.partition)
    mine = (_head.c.topic == at.topic, _head.c.partition == at.partition)
    head = session.execute(select(_head.c.first, _head.c.next).where(*mine)).one_or_none()
    if head is None or stored > head.next:
        return 0
    bound = min(stored, carried(session).get(at, 0)) if relayed else stored
    rows = session.execute(
        select(_log.c.offset, _log.c.created_ms)
        .where(*here, _log.c.offset >= head.first, _log.c.offset < bound)
        .order_by(_log.c.offset)
        .limit(limit)
    )
    gone, first = 0, head.first
    for offset, created_ms in rows:
        if created_ms >= written_before_ms:
            break
        gone, first = gone + 1, offset + 1
    if gone:
        session.execute(delete(_log).where(*here, _log.c.offset >= head.first, _log.c.offset < first))
        session.execute(update(_head).where(*mine).values(first=first))
    return gone


def heads(session: Session) -> dict[TopicPartition, LogHead]:
    """Beginning and end of the partitions that can be pruned."""
    found = {TopicPartition(h.topic, h.partition): h for h in session.execute(select(LogHead)).scalars()}
    return {at: found[at] for at in PARTITIONS if at in found}


def carried(session: Session) -> dict[TopicPartition, int]:
    """Up to which offset of the log everything has been acknowledged by Kafka."""
    rows = session.execute(select(_relay.c.topic, _relay.c.partition, _relay.c.next))
    return {TopicPartition(topic, partition): following for topic, partition, following in rows}


def figures(
    session: Session, kept: Mapping[TopicPartition, LogHead], *, behind: int | None, keep_days: float
) -> LogStatus:
    """What is kept, between these heads."""
    oldest = [_written_ms(session, at, head.first) for at, head in kept.items() if head.first < head.next]
    return LogStatus(
        records=sum(head.next - head.first for head in kept.values()),
        oldest_ms=min((moment for moment in oldest if moment is not None), default=None),
        behind=behind,
        keep_days=keep_days,
    )


def _written_ms(session: Session, at: TopicPartition, offset: int) -> int | None:
    row = select(_log.c.created_ms).where(
        _log.c.topic == at.topic, _log.c.partition == at.partition, _log.c.offset == offset
    )
    return session.execute(row).scalar_one_or_none()
