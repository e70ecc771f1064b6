"""Appending skips what is there, reading is in order and waits, compacted topics keep the last of each key."""

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import Session
from tests.keyrings import KEYRING
from tests.unit.service.log.conftest import Log

from thumbwheel.events import CONTROL, LEARNER, TURNS
from thumbwheel.internal import LogEntry, LogPosition, LogSpan
from thumbwheel_service.db.tables import LogHead, LogRow
from thumbwheel_service.log import repository
from thumbwheel_service.log.append import UnknownTopic
from thumbwheel_service.log.repository import Pruned, UnknownPartition
from thumbwheel_service.log.service import BadRecord

AT = LogPosition(CONTROL.name, 0, 0)


def entries(*names: str, topic: str = CONTROL.name) -> list[LogEntry]:
    return [LogEntry(topic, "k", name, name.encode()) for name in names]


async def values(log: Log, position: LogPosition = AT, *, limit: int = 100) -> list[bytes]:
    (page,) = await log.service.read([position], limit=limit, wait_ms=0)
    return [row.value for row in page.rows]


async def test_event_ids_that_are_there_are_skipped(log: Log) -> None:
    assert await log.service.append(entries("a", "b")) == 2
    assert await log.service.append(entries("b", "c", "c")) == 1
    assert await values(log) == [b"a", b"b", b"c"]


async def test_pages_go_on_where_the_last_one_ended(log: Log) -> None:
    await log.service.append(entries(*"abcde"))
    assert await values(log, limit=2) == [b"a", b"b"]
    assert await values(log, LogPosition(CONTROL.name, 0, 2), limit=2) == [b"c", b"d"]
    assert await values(log, LogPosition(CONTROL.name, 0, 5)) == []


async def test_large_records_make_short_pages_and_never_empty_ones(log: Log) -> None:
    big = b"x" * (5 << 20)
    await log.service.append([LogEntry(CONTROL.name, "k", name, big) for name in "abc"])
    (page,) = await log.service.read([AT], limit=100, wait_ms=0)
    assert [row.offset for row in page.rows] == [0]


async def test_what_the_log_does_not_have_is_said(log: Log) -> None:
    for topic, partition in (("nothing", 0), (CONTROL.name, 1), (TURNS.name, -1)):
        with pytest.raises(UnknownPartition):
            await log.service.read([LogPosition(topic, partition, 0)], limit=1, wait_ms=0)
    with pytest.raises(UnknownTopic):
        await log.service.append(entries("a", topic="nothing"))
    for entry in (LogEntry(CONTROL.name, "", "e", b""), LogEntry(CONTROL.name, "k", "e\0", b"")):
        with pytest.raises(BadRecord):
            await log.service.append([entry])
    with pytest.raises(Pruned):
        await log.service.read([LogPosition(CONTROL.name, 0, 1)], limit=1, wait_ms=0)


async def test_a_pruned_offset_is_an_alarm(log: Log) -> None:
    await log.service.append(entries(*"abc"))
    await log.write(lambda s: s.execute(update(LogHead).values(first=2)))
    with pytest.raises(Pruned, match="from 2 to 3"):
        await values(log)
    assert await log.service.starts(CONTROL.name) == [LogPosition(CONTROL.name, 0, 2)]


async def test_pruning_between_the_end_and_the_records_makes_no_hole(log: Log) -> None:
    """PostgreSQL shows every statement what was committed before it."""
    await log.service.append(entries(*"abc"))
    seen: list[str] = []

    class Between(Session):
        def execute(self, statement: Any, *more: Any, **options: Any) -> Any:
            seen.append(str(statement).split()[1])
            if len(seen) == 2:
                super().execute(delete(LogRow).where(LogRow.offset < 2))
                super().execute(update(LogHead).values(first=2))
            return super().execute(statement, *more, **options)

    with Between(log.database) as session, pytest.raises(Pruned, match="from 2 to 3"):
        repository.read(session, CONTROL.name, 0, 0, 100)


async def test_a_topic_tells_where_its_partitions_begin_and_end(log: Log) -> None:
    await log.service.append(entries(*"abc"))
    await log.write(lambda s: s.execute(update(LogHead).values(first=1)))
    assert await log.service.spans(CONTROL.name) == [LogSpan(1, 3)]
    assert await log.service.spans(TURNS.name) == [LogSpan(0, 0)] * TURNS.partitions
    with pytest.raises(UnknownPartition):
        await log.service.spans("nothing")


async def test_a_compacted_topic_keeps_the_last_record_of_each_key(log: Log) -> None:
    await log.append(LEARNER.name, "a1", "b1", key=None)
    for name, key in (("x1", "x"), ("y1", "y"), ("x2", "x"), ("x3", "x")):
        await log.append(LEARNER.name, name, key=key)
    (page,) = await log.service.read([LogPosition(LEARNER.name, 0, 0)], limit=100, wait_ms=0)
    assert [(row.offset, row.value) for row in page.rows] == [(0, b"a1"), (1, b"b1"), (3, b"y1"), (5, b"x3")]
    assert (page.first, page.next) == (0, 6)


async def test_a_reader_waits_for_the_first_new_record(log: Log) -> None:
    positions = [LogPosition(TURNS.name, p, 0) for p in range(TURNS.partitions)] + [AT]
    reading = asyncio.create_task(log.service.read(positions, limit=10, wait_ms=20_000))
    await asyncio.sleep(0.05)
    assert not reading.done()
    began = time.monotonic()
    await log.service.append(entries("a"))
    pages = await reading
    assert [len(page.rows) for page in pages] == [0, 0, 0, 0, 1]
    assert time.monotonic() - began < 10


async def test_a_commit_elsewhere_is_found_too(log: Log) -> None:
    """Another replica's writer cannot wake our readers; they look again."""
    reading = asyncio.create_task(log.service.read([AT], limit=10, wait_ms=20_000))
    await asyncio.sleep(0.05)
    other = type(log.writer)(log.database, KEYRING)
    await type(log.service)(other, log.reader, type(log.signal)()).append(entries("a"))
    assert [len(page.rows) for page in await reading] == [1]
    await asyncio.to_thread(other.close)


async def test_waiting_ends_by_itself_and_with_the_service(log: Log) -> None:
    (page,) = await log.service.read([AT], limit=10, wait_ms=50)
    assert page.rows == []
    reading = asyncio.create_task(log.service.read([AT], limit=10, wait_ms=30_000))
    await asyncio.sleep(0.05)
    log.service.stop()
    assert (await asyncio.wait_for(reading, 5))[0].rows == []
