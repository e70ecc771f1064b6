"""One transaction holds rows, dead letters and the offsets that stand for them."""

from collections.abc import Mapping, MutableMapping, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from thumbwheel import failpoint
from thumbwheel.bus import TopicPartition
from thumbwheel_learner.store.examine import Accepted, Rejected
from thumbwheel_learner.store.ingest import move_offset, store_batch
from thumbwheel_learner.store.session import writing

Offsets = Mapping[TopicPartition, int]
REFUSED = (DBAPIError, ValueError, ArithmeticError, RecursionError)
"""What a value raises that database, driver or encoder cannot hold (an `OperationalError` is not about the value)."""


def commit(
    engine: Engine, expected: Offsets, reached: Offsets, accepted: Sequence[Accepted], rejected: Sequence[Rejected]
) -> None:
    """Store a batch and move its partitions' offsets from `expected` to `reached`, or nothing of it.

    Raises `OffsetMoved`, and what the database does.
    """
    with writing(engine) as session:
        for partition, offset in sorted(reached.items()):
            move_offset(session, partition, expected=expected[partition], reached=offset)
        store_batch(session, accepted, rejected)
        failpoint.reach("consume.storing")


def commit_singly(
    engine: Engine,
    stored: MutableMapping[TopicPartition, int],
    accepted: Sequence[Accepted],
    rejected: Sequence[Rejected],
) -> tuple[list[Accepted], list[Rejected]]:
    """Find the record that the database refuses, and dead-letter that one alone; returns what became of all.

    `stored` moves with each of them.
    """
    kept: list[Accepted] = []
    refused: list[Rejected] = []
    for item in sorted([*accepted, *rejected], key=lambda item: item.record.offset):
        partition = TopicPartition(item.record.topic, item.record.partition)
        reached = {partition: item.record.offset + 1}
        done = _commit_or_reject(engine, stored, reached, item)
        if isinstance(done, Accepted):
            kept.append(done)
        else:
            refused.append(done)
        stored.update(reached)
    return kept, refused


def _commit_or_reject(
    engine: Engine, expected: Offsets, reached: Offsets, item: Accepted | Rejected
) -> Accepted | Rejected:
    if isinstance(item, Rejected):
        commit(engine, expected, reached, [], [item])
        return item
    try:
        commit(engine, expected, reached, [item], [])
    except OperationalError:
        raise
    except REFUSED as error:
        refused = Rejected(item.record, f"the store refuses it: {error}")
        commit(engine, expected, reached, [], [refused])
        return refused
    return item
