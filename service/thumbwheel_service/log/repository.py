"""Reading the log: the embedded bus's other half."""

from sqlalchemy import select
from sqlmodel import Session, col

from thumbwheel import internal
from thumbwheel.events import TOPICS
from thumbwheel_service.db.tables import LogHead, LogRow
from thumbwheel_service.errors import Gone, Missing

PAGE_BYTES = 8 << 20


class UnknownPartition(Missing):
    """No such topic, or it has fewer partitions."""

    code = "unknown_partition"


class Pruned(Gone):
    """The offset is below the first that is still there: an alarm for the reader, never a jump."""

    code = "offset_out_of_range"


def check_partition(topic: str, partition: int) -> None:
    """Raise `UnknownPartition` unless the log has this partition."""
    if topic not in TOPICS or not 0 <= partition < TOPICS[topic].partitions:
        raise UnknownPartition(f"no partition {partition} of topic {topic!r}")


def read(
    session: Session, topic: str, partition: int, offset: int, limit: int, size_limit: int = PAGE_BYTES
) -> internal.LogPage:
    """Records from `offset` on, at most `limit` of them and about `size_limit` bytes; raises `Pruned`.

    Offsets ascend; in a compacted topic, where only the last record of a key stays, they have gaps. The end is read
    before the records and the beginning after them: what is appended or pruned meanwhile makes no page with a hole.
    """
    following = span(session, topic, partition).next
    columns = (col(LogRow.offset), col(LogRow.key), col(LogRow.value))
    statement = (
        select(*columns)
        .where(col(LogRow.topic) == topic, col(LogRow.partition) == partition, col(LogRow.offset) >= offset)
        .order_by(col(LogRow.offset))
        .limit(limit)
    )
    rows: list[internal.LogRow] = []
    size = 0
    for number, key, value in session.execute(statement):
        size += len(value)
        if rows and size > size_limit:
            break
        rows.append(internal.LogRow(number, key, value))
    first = span(session, topic, partition).first
    if not first <= offset <= following:
        raise Pruned(f"{topic}[{partition}] reaches from {first} to {following}, not to {offset}")
    return internal.LogPage(rows=rows, first=first, next=following)


def span(session: Session, topic: str, partition: int) -> internal.LogSpan:
    """Where a partition begins and ends now."""
    statement = select(col(LogHead.first), col(LogHead.next)).where(
        col(LogHead.topic) == topic, col(LogHead.partition) == partition
    )
    found = session.execute(statement).one_or_none()
    return internal.LogSpan(*found) if found else internal.LogSpan(0, 0)


def spans(session: Session, topic: str) -> list[internal.LogSpan]:
    """Where the partitions of `topic` begin and end, in order; raises `UnknownPartition`."""
    check_partition(topic, 0)
    return [span(session, topic, partition) for partition in range(TOPICS[topic].partitions)]
