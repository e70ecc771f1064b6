"""Who carries which partition to Kafka: one lease each, fenced by an epoch that grows whenever it changes hands."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, insert, or_, select, tuple_, update
from sqlalchemy import case as when
from sqlmodel import Session

from thumbwheel.bus import TopicPartition
from thumbwheel_service.db.clock import database_ms
from thumbwheel_service.db.tables import RelayRow, table_of
from thumbwheel_service.errors import Conflicting
from thumbwheel_service.owner import Owner

_relay = table_of(RelayRow)


class NotMine(Conflicting):
    """Another process took the lease meanwhile: what was carried is carried again, and readers know it by its id."""


def take(
    session: Session, owner: Owner, partitions: Sequence[TopicPartition], lease_ms: int
) -> dict[TopicPartition, int]:
    """Renew our leases of these and take those that are free, ran out, or belonged to this replica's last process.

    Returns the epoch of every one that is ours now. Time is the database's, so replicas need not agree on it.
    """
    _begin(session, partitions)
    now = database_ms(session)
    ours = owner.is_in(_relay.c.owner)
    session.execute(
        update(_relay)
        .where(
            _among(partitions),
            or_(owner.replica_is_in(_relay.c.owner), _relay.c.owner.is_(None), _relay.c.until_ms <= now),
        )
        .values(epoch=_relay.c.epoch + when((ours, 0), else_=1), owner=str(owner), until_ms=now + lease_ms)
    )
    held = session.execute(select(_relay.c.topic, _relay.c.partition, _relay.c.epoch).where(ours, _among(partitions)))
    return {TopicPartition(topic, partition): epoch for topic, partition, epoch in held}


def release(session: Session, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
    """Let another process have what is ours of these at once."""
    ours = owner.is_in(_relay.c.owner) & _among(partitions)
    session.execute(update(_relay).where(ours).values(owner=None, until_ms=0))


def advance(session: Session, owner: Owner, at: TopicPartition, epoch: int, before: int, after: int) -> None:
    """Move a position; raises `NotMine` unless the lease is still the one under which the records were read."""
    change = update(_relay).where(
        _relay.c.topic == at.topic,
        _relay.c.partition == at.partition,
        _relay.c.next == before,
        owner.is_in(_relay.c.owner),
        _relay.c.epoch == epoch,
    )
    if getattr(session.execute(change.values(next=after)), "rowcount", 0) != 1:
        raise NotMine(f"another process has taken over {at.topic}[{at.partition}]")


def positions(session: Session, held: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """How far the partitions are carried of which we hold these leases, and still do."""
    rows = session.execute(select(_relay.c.topic, _relay.c.partition, _relay.c.epoch, _relay.c.next))
    return {at: next for t, p, epoch, next in rows if held.get(at := TopicPartition(t, p)) == epoch}


def _among(partitions: Sequence[TopicPartition]) -> ColumnElement[bool]:
    return tuple_(_relay.c.topic, _relay.c.partition).in_(partitions)


def _begin(session: Session, partitions: Sequence[TopicPartition]) -> None:
    known = {TopicPartition(t, p) for t, p in session.execute(select(_relay.c.topic, _relay.c.partition))}
    missing = [{"topic": at.topic, "partition": at.partition} for at in partitions if at not in known]
    if missing:
        session.execute(insert(_relay).values(next=0, epoch=0, until_ms=0), missing)
