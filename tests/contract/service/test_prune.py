"""Rows of the log go only when nobody needs them any more, on both databases and in whatever order things happen."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, insert, select, update
from sqlmodel import Session
from tests.contract.service.store import write
from tests.keyrings import keyring_beside

from thumbwheel.bus import NewRecord, TopicPartition
from thumbwheel.events import CONTROL, LEARNER
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import LogHead, LogRow, RelayRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.log import repository
from thumbwheel_service.log.append import append_records
from thumbwheel_service.log.evidence import FromLog
from thumbwheel_service.log.prune import PARTITIONS, prune
from thumbwheel_service.log.repository import Pruned
from thumbwheel_service.log.retention import Retention

AT = TopicPartition(CONTROL.name, 0)
NEVER_OLD, ALL_OLD = 0, 2**53
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "age", "store", "relay", "prune", "prune"]), st.integers(1, 7)), max_size=25
)


def append(database: Engine, first: int, count: int) -> None:
    new = [NewRecord(AT.topic, "k", f"e{first + i}", b"%d" % (first + i)) for i in range(count)]
    assert write(database, lambda s: append_records(s, new)) == count


def pruned(database: Engine, stored: int, *, relayed: bool = False, old: int = ALL_OLD, limit: int = 100) -> int:
    return write(database, lambda s: prune(s, AT, stored=stored, written_before_ms=old, relayed=relayed, limit=limit))


def offsets(database: Engine) -> list[int]:
    rows = select(LogRow.offset).where(LogRow.topic == AT.topic).order_by(LogRow.offset)
    return write(database, lambda s: list(s.execute(rows).scalars()))


def first(database: Engine) -> int:
    return write(database, lambda s: repository.span(s, *AT).first)


def carry(database: Engine, next: int) -> None:
    """As the relay does, once Kafka has answered."""

    def unit(session: Session) -> None:
        session.execute(delete(RelayRow))
        session.execute(insert(RelayRow).values(topic=AT.topic, partition=0, next=next, epoch=0, until_ms=0))

    write(database, unit)


def empty(database: Engine) -> None:
    write(database, lambda s: [s.execute(delete(table)) for table in (LogRow, LogHead, RelayRow)])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, relayed=st.booleans())
def test_what_is_not_stored_carried_and_old_is_never_removed(
    database: Engine, steps: list[tuple[str, int]], relayed: bool
) -> None:
    empty(database)
    appended = aged = stored = carried = 0
    for step, number in steps:
        match step:
            case "append":
                append(database, appended, number)
                appended += number
            case "age":
                aged = min(appended, aged + number)
                old = update(LogRow).where(LogRow.offset < aged).values(created_ms=1)
                write(database, lambda s, old=old: s.execute(old))
            case "store":
                stored = min(appended, stored + number)
            case "relay":
                carried = min(appended, carried + number)
                carry(database, carried)
            case _:
                before = first(database)
                gone = pruned(database, stored, relayed=relayed, old=2, limit=number)
                needed = min(stored, aged, carried) if relayed else min(stored, aged)
                assert gone == min(number, max(0, needed - before))
        assert offsets(database) == list(range(first(database), appended))
        assert first(database) <= min(stored, aged, carried if relayed else appended)
    page = write(database, lambda s: repository.read(s, *AT, first(database), 1000))
    assert [row.offset for row in page.rows] == offsets(database)


def test_a_reader_at_the_edge_goes_on_and_one_below_it_is_alarmed(database: Engine) -> None:
    append(database, 0, 5)
    assert pruned(database, 3) == 3
    page = write(database, lambda s: repository.read(s, *AT, 3, 10))
    assert ([row.offset for row in page.rows], page.first, page.next) == ([3, 4], 3, 5)
    with pytest.raises(Pruned, match="from 3 to 5"):
        write(database, lambda s: repository.read(s, *AT, 2, 10))
    assert pruned(database, 5) == 2
    assert write(database, lambda s: repository.read(s, *AT, 5, 10)).rows == []
    append(database, 5, 1)
    assert offsets(database) == [5]


def test_a_learner_that_claims_more_than_there_is_removes_nothing(database: Engine) -> None:
    append(database, 0, 5)
    assert pruned(database, 6) == 0
    assert pruned(database, 5, old=NEVER_OLD) == 0
    assert pruned(database, 0) == 0
    assert pruned(database, 5, relayed=True) == 0
    assert offsets(database) == [0, 1, 2, 3, 4]


def test_a_death_in_the_middle_leaves_everything(database: Engine) -> None:
    append(database, 0, 5)

    def die(session: Session) -> None:
        prune(session, AT, stored=4, written_before_ms=ALL_OLD, relayed=False, limit=100)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(database, die)
    assert (first(database), offsets(database)) == (0, [0, 1, 2, 3, 4])
    assert pruned(database, 4) == 4


async def test_replicas_that_prune_together_remove_every_row_once(database: Engine) -> None:
    append(database, 0, 700)
    write(database, lambda s: s.execute(update(LogRow).values(created_ms=1)))
    parts: list[tuple[Engine, Writer, Reader]] = []
    for _ in range(3):
        engine = connect(database.url.render_as_string(hide_password=False))
        parts.append((engine, Writer(engine, keyring_beside(engine)), Reader(engine, keyring_beside(engine))))
    tasks = [
        Retention(writer, reader, FromLog(reader), lambda: {AT: 650}, keep_days=1, relayed=False).round()
        for _, writer, reader in parts
    ]
    assert sum(await asyncio.gather(*tasks)) == 650
    assert offsets(database) == list(range(650, 700))
    for engine, writer, reader in parts:
        await asyncio.to_thread(writer.close)
        reader.close()
        engine.dispose()


def test_compacted_topics_are_none_of_its_business(database: Engine) -> None:
    kept = ("turns", "feedback", "control", "erasures")
    assert {at.topic for at in PARTITIONS} == {f"thumbwheel.{name}" for name in kept}
    last = NewRecord(LEARNER.name, "status", "e", b"x")
    write(database, lambda s: append_records(s, [last]))
    kept: Any = select(func.count()).select_from(LogRow)
    for at in PARTITIONS:
        gone = write(
            database, lambda s, at=at: prune(s, at, stored=1, written_before_ms=ALL_OLD, relayed=False, limit=9)
        )
        assert gone == 0
    assert write(database, lambda s: s.execute(kept).scalar_one()) == 1
