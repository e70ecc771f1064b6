"""SQLite on a full disk: nobody is told yes, nothing half-written stays, and writing goes on when there is room."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlmodel import Session
from tests.databases import sqlite_url

from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import migrate
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.db.writer import NotWritten, Writer


def store(offset: int, size: int) -> Callable[[Session], int]:
    def unit(session: Session) -> int:
        row = {"topic": "t", "partition": 0, "offset": offset, "key": "k", "event_id": f"e{offset}", "created_ms": 1}
        session.execute(insert(LogRow), row | {"value": b"x" * size})
        return offset

    return unit


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    database = connect(sqlite_url(tmp_path))
    migrate(database)
    limit = 400

    def small(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={limit}")

    event.listen(database, "checkout", small)
    writer = Writer(database)
    assert await writer.run(store(0, 10)) == 0
    results = await asyncio.gather(
        writer.run(store(1, 10_000_000)), *[writer.run(store(i, 10)) for i in range(2, 20)], return_exceptions=True
    )
    assert isinstance(results[0], NotWritten)
    told_yes = {0, *[r for r in results if isinstance(r, int)]}
    with Session(database) as session:
        assert set(session.execute(select(LogRow.offset)).scalars()) == told_yes
    limit = 100_000
    assert await writer.run(store(1, 10_000_000)) == 1
    await asyncio.to_thread(writer.close)
    database.dispose()


async def test_a_database_that_is_gone_refuses_everybody(tmp_path: Path) -> None:
    database = connect(sqlite_url(tmp_path))
    writer = Writer(database)
    results = await asyncio.gather(*[writer.run(store(i, 1)) for i in range(50)], return_exceptions=True)
    assert {type(r) for r in results} == {NotWritten}
    migrate(database)
    assert await writer.run(store(0, 1)) == 0
    await asyncio.to_thread(writer.close)
    database.dispose()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
