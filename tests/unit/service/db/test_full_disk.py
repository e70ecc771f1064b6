"""SQLite on a full disk: nobody is told yes, nothing half-written stays, and writing goes on when there is room."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlmodel import Session
from tests.databases import sqlite_url
from tests.keyrings import KEYRING

from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import NoDatabase, migrate, open_database
from thumbwheel_service.db.reader import NotRead, Reader
from thumbwheel_service.db.tables import LogRow
from thumbwheel_service.db.writer import NotWritten, Writer
from thumbwheel_service.errors import TooMany


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
    writer = Writer(database, KEYRING)
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
    writer = Writer(database, KEYRING)
    results = await asyncio.gather(*[writer.run(store(i, 1)) for i in range(50)], return_exceptions=True)
    assert {type(r) for r in results} == {NotWritten}
    migrate(database)
    assert await writer.run(store(0, 1)) == 0
    await asyncio.to_thread(writer.close)
    database.dispose()


async def test_a_file_that_is_removed_or_replaced_takes_no_more_writes(tmp_path: Path) -> None:
    database = connect(sqlite_url(tmp_path))
    migrate(database)
    writer, reader, file = Writer(database, KEYRING), Reader(database, KEYRING), tmp_path / "service.db"
    assert await writer.run(store(0, 1)) == 0
    file.rename(tmp_path / "kept")
    with pytest.raises(NotWritten, match="is gone"):
        await writer.run(store(1, 1))
    with pytest.raises(NotRead, match=r"is gone.*try again"):
        await reader.run(lambda session: session.execute(select(1)).one())
    shutil.copy(tmp_path / "kept", file)
    with pytest.raises(NotWritten, match="was replaced"):
        await writer.run(store(1, 1))
    assert await writer.run(store(1, 1)) == 1
    await asyncio.to_thread(writer.close)
    reader.close()
    database.dispose()
    with sqlite3.connect(file) as restored:
        assert restored.execute('SELECT count(*) FROM log WHERE "offset" = 1').fetchone() == (1,)
    restored.close()


async def test_a_reader_has_patience_and_a_queue_with_an_end(tmp_path: Path) -> None:
    database = connect(sqlite_url(tmp_path))
    reader = Reader(database, KEYRING, threads=1, capacity=2, patience=0.2)
    go = threading.Event()
    slow = [asyncio.create_task(reader.run(lambda _: go.wait(10))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await reader.run(lambda _: None)
    assert {type(e) for e in await asyncio.gather(*slow, return_exceptions=True)} == {NotRead}
    go.set()
    assert await reader.run(lambda _: 7) == 7
    reader.close()
    database.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://ann:secret@/none?host=/no/such/folder", "no connection"),
        ("sqlite:////no/such/folder/db", "No such"),
    ],
)
def test_a_start_without_its_database_says_why(url: str, reason: str) -> None:
    with pytest.raises(NoDatabase, match=reason) as raised:
        open_database(url)
    assert "secret" not in str(raised.value)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
