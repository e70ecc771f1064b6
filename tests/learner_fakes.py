"""Fakes of the learner's surroundings: a bus in memory that can fail, repeat and forget on demand."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from thumbwheel.bus import BusUnavailable, NewRecord, OffsetOutOfRange, Record, TopicPartition, partition_of
from thumbwheel.events import TOPICS, Envelope, Event, encode, topic_and_key, wrap


class MemoryBus:
    """An `EventBus` in memory. `down` makes every call raise; `deliver` may reorder or repeat what a poll returns."""

    def __init__(self, *, batch: int = 100) -> None:
        self.logs: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.first: dict[TopicPartition, int] = defaultdict(int)
        self.reported: dict[TopicPartition, int] = {}
        self.down = False
        self.batch = batch
        self.deliver: Callable[[list[Record]], list[Record]] = lambda records: records

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append, skipping event ids that are there already, as the embedded bus does."""
        self.check()
        for record in records:
            partition = TopicPartition(record.topic, partition_of(record.key, TOPICS[record.topic].partitions))
            self.append_raw(partition, record.key, record.value)

    def append_raw(self, partition: TopicPartition, key: str, value: bytes) -> int:
        """Put any bytes on a partition; returns the offset."""
        log = self.logs[partition]
        log.append(Record(partition.topic, partition.partition, len(log), key, value))
        return len(log) - 1

    def publish(self, event: Event | Envelope, *, event_id: str | None = None) -> Record:
        """Append one event; returns its record."""
        envelope = event if isinstance(event, Envelope) else wrap(event, event_id=event_id)
        topic, key = topic_and_key(envelope.event)
        partition = TopicPartition(topic.name, partition_of(key, topic.partitions))
        return self.logs[partition][self.append_raw(partition, key, encode(envelope))]

    def events(self, topic: str) -> list[Record]:
        """Everything on a topic, partition by partition."""
        return [record for partition, log in sorted(self.logs.items()) if partition.topic == topic for record in log]

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> "MemoryConsumer":
        """A consumer of all partitions of `topics`."""
        self.check()
        return MemoryConsumer(self, topics, start)

    def check(self) -> None:
        """Raise when the bus is down."""
        if self.down:
            raise BusUnavailable("the bus is down")

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MemoryConsumer:
    """An `EventConsumer` of a `MemoryBus`."""

    def __init__(self, bus: MemoryBus, topics: Sequence[str], start: Callable[[TopicPartition], int]) -> None:
        self._bus = bus
        partitions = [TopicPartition(topic, p) for topic in topics for p in range(TOPICS[topic].partitions)]
        self.position = {partition: start(partition) for partition in partitions}
        self.closed = False

    def poll(self, timeout_s: float) -> list[Record]:
        """Up to `batch` records over all partitions."""
        self._bus.check()
        found: list[Record] = []
        for partition, offset in self.position.items():
            if offset < self._bus.first[partition]:
                raise OffsetOutOfRange(f"{partition} begins at {self._bus.first[partition]}, asked for {offset}")
            records = self._bus.logs[partition][offset : offset + self._bus.batch - len(found)]
            self.position[partition] = offset + len(records)
            found += records
        return self._bus.deliver(found)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read from there next."""
        self.position[partition] = offset

    def begins(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        self._bus.check()
        return {partition: self._bus.first[partition] for partition in self.position}

    def ends(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        self._bus.check()
        return {partition: len(self._bus.logs[partition]) for partition in self.position}

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        return dict(self.position)

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember, for assertions."""
        self._bus.reported.update(offsets)

    def close(self) -> None:
        """Leave."""
        self.closed = True


def fake_adapter(folder: Path, weights: bytes = b"weights", *, rank: int = 8) -> Path:
    """A folder that looks like a LoRA adapter, as far as publishing cares."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder
