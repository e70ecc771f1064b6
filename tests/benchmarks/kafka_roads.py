"""Ways over Kafka, ours and the bare client's, each to be timed in a process of its own."""

import time
from typing import NamedTuple

from tests.benchmarks.real_events import record

from thumbwheel.bus import NewRecord, partition_of
from thumbwheel.bus.kafka import BATCH_BYTES, LINGER_MS, MAX_MESSAGE_BYTES, KafkaBus
from thumbwheel.bus.kafka_driver import kafka
from thumbwheel.events import TOPICS
from thumbwheel_learner.consume import TOPICS_READ, Consumer
from thumbwheel_learner.store.session import connect, migrate

_CHUNK = 500
_DIFFERENT = 5_000
"""The bare producer sends these again and again, so that making them is no part of its time."""


class Read(NamedTuple):
    """How much went how fast."""

    events: int
    size: int
    """Bytes of the values; 0 where nobody counted."""
    seconds: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def fill(bootstrap: str, events: int) -> None:
    """The first `events` of `real_events`, onto their topics."""
    with KafkaBus(bootstrap) as bus:
        for first in range(0, events, _CHUNK):
            bus.append([record(number) for number in range(first, min(first + _CHUNK, events))])


def read_bare(bootstrap: str, events: int) -> Read:
    """All that the learner reads, by a consumer that looks at nothing, with the learner's own fetch size."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
    )
    consumer.assign([kafka.TopicPartition(name, p) for name in TOPICS_READ for p in range(TOPICS[name].partitions)])
    begun, seen, size = time.perf_counter(), 0, 0
    while seen < events:
        for batch in consumer.poll(timeout_ms=500).values():
            seen += len(batch)
            size += sum(len(one.value) for one in batch)
    taken = time.perf_counter() - begun
    consumer.close()
    return Read(seen, size, taken)


def ingest(bootstrap: str, url: str, events: int) -> Read:
    """The same into a new store, by the learner's consumer in its group."""
    engine = connect(url)
    migrate(engine)
    with KafkaBus(bootstrap) as bus:
        consumer = Consumer(engine, bus)
        begun, seen = time.perf_counter(), 0
        while seen < events:
            seen += consumer.step(0.5)
        taken = time.perf_counter() - begun
        consumer.close()
    engine.dispose()
    return Read(seen, 0, taken)


def produce_bare(bootstrap: str, prefix: str, events: int) -> Read:
    """So many records by a bare idempotent producer with batches as large as ours, all of them acknowledged."""
    records = [record(number) for number in range(min(events, _DIFFERENT))]
    keyed = [(prefix + one.topic, one.key.encode(), one.value, _partition(one)) for one in records]
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, batch_size=BATCH_BYTES, linger_ms=LINGER_MS
    )
    begun, futures = time.perf_counter(), []
    for number in range(events):
        topic, key, value, partition = keyed[number % len(keyed)]
        futures.append(producer.send(topic, value=value, key=key, partition=partition))
    producer.flush()
    taken = time.perf_counter() - begun
    failed = sum(not future.succeeded() for future in futures)
    producer.close()
    if failed:
        raise RuntimeError(f"{failed} of {events} records were not taken")
    return Read(events, sum(len(keyed[number % len(keyed)][2]) for number in range(events)), taken)


def _partition(one: NewRecord) -> int:
    return partition_of(one.key, TOPICS[one.topic].partitions)
