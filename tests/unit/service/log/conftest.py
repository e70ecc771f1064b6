"""The log on a real SQLite file, with its writer, reader and signal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import Session
from tests.databases import sqlite_url
from tests.keyrings import KEYRING

from thumbwheel.bus import NewRecord, TopicPartition, partition_of
from thumbwheel.events import TOPICS
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import migrate
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.log.append import append_records
from thumbwheel_service.log.service import LogService
from thumbwheel_service.log.signal import LogSignal


@dataclass
class Log:
    database: Engine
    writer: Writer
    reader: Reader
    signal: LogSignal
    service: LogService

    async def append(self, topic: str, *names: str, key: str | None = None) -> None:
        records = [NewRecord(topic, key or name, name, name.encode()) for name in names]
        await self.writer.run(lambda session: append_records(session, records))

    async def write(self, unit: Callable[[Session], object]) -> None:
        await self.writer.run(unit)


def partition(topic: str, key: str) -> TopicPartition:
    return TopicPartition(topic, partition_of(key, TOPICS[topic].partitions))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    database = connect(sqlite_url(tmp_path))
    migrate(database)
    writer, reader, signal = Writer(database, KEYRING), Reader(database, KEYRING), LogSignal()
    writer.on_commit(signal.committed)
    yield Log(database, writer, reader, signal, LogService(writer, reader, signal))
    await asyncio.to_thread(writer.close)
    reader.close()
    database.dispose()
