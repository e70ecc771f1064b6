"""The log beside a real Kafka: rows go once they are carried there and stored by whoever reads there."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Engine
from tests.brokers import Broker
from tests.kafka_sockets import sockets_collected
from tests.keyrings import keyring_beside

from thumbwheel.bus import NewRecord, Record, TopicPartition
from thumbwheel.bus.kafka import KafkaBus
from thumbwheel.events import FEEDBACK, new_id
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.log import repository
from thumbwheel_service.log.append import append_records
from thumbwheel_service.log.evidence import FromKafka
from thumbwheel_service.log.relay import Relay
from thumbwheel_service.log.retention import Retention
from thumbwheel_service.log.signal import LogSignal
from thumbwheel_service.owner import Owner

pytestmark = pytest.mark.kafka
A_MOMENT = 1e-9
"""Days: whatever was written before this millisecond is old."""


@pytest.fixture
def bus(broker: Broker, caplog: pytest.LogCaptureFixture) -> Iterator[KafkaBus]:
    prefix = f"retention-{uuid.uuid4().hex[:8]}."
    with sockets_collected(caplog):
        broker.create_topics(prefix)
        with KafkaBus(broker.bootstrap, options=broker.options, topic_prefix=prefix) as bus:
            yield bus


@pytest.fixture
async def parts(database: Engine) -> AsyncIterator[tuple[Writer, Reader]]:
    writer, reader = Writer(database, keyring_beside(database)), Reader(database, keyring_beside(database))
    yield writer, reader
    await asyncio.to_thread(writer.close)
    reader.close()


def read(bus: KafkaBus, count: int) -> dict[TopicPartition, int]:
    """What a learner says once it has stored `count` records."""
    reached: dict[TopicPartition, int] = {}
    found: list[Record] = []
    with contextlib.closing(bus.consumer([FEEDBACK.name], group=None, start=lambda at: 0)) as consumer:
        for _ in range(60):
            found += consumer.poll(0.5)
            if len(found) >= count:
                break
    for record in found:
        reached[TopicPartition(record.topic, record.partition)] = record.offset + 1
    return reached


async def test_rows_go_once_kafka_has_them_and_the_learner_has_stored_them(
    bus: KafkaBus, parts: tuple[Writer, Reader]
) -> None:
    writer, reader = parts
    said: dict[TopicPartition, int] = {}
    relay = Relay(bus, writer, reader, LogSignal(), Owner("one", "boot"))
    evidence = FromKafka(reader, bus)
    mine = Retention(writer, reader, evidence, lambda: said, keep_days=A_MOMENT, relayed=True)

    async def append(count: int) -> None:
        new = [NewRecord(FEEDBACK.name, f"k{i}", new_id("ev"), b"x") for i in range(count)]
        await writer.run(lambda session: append_records(session, new))
        await asyncio.sleep(0.005)

    async def kept() -> int:
        return sum(span.next - span.first for span in await reader.run(lambda s: repository.spans(s, FEEDBACK.name)))

    await append(20)
    assert await mine.round() == 0
    assert await relay.carry() == 20
    assert await mine.round() == 0, "carried, and not stored"
    said.update(await asyncio.to_thread(read, bus, 20))
    assert await mine.round() == 20
    assert await kept() == 0
    await append(5)
    await mine.round()
    await mine.round()
    assert await kept() == 5, "not on Kafka yet"
    figures = mine.figures()
    assert figures is not None
    assert figures.behind == 5
    await relay.release()
