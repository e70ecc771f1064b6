"""A group on Kafka: partitions move between members, and every member starts where the owner's database says."""

import threading
import time

import pytest
from tests.brokers import Broker
from tests.contract.bus.conftest import KafkaArena

from thumbwheel.bus import EventConsumer, NewRecord, Record, TopicPartition
from thumbwheel.events import FEEDBACK, new_id

pytestmark = pytest.mark.kafka


class Owner:
    """The database of a group: what is stored, once, and from where to go on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.next: dict[TopicPartition, int] = {}
        self.values: list[bytes] = []

    def start(self, at: TopicPartition) -> int:
        with self.lock:
            return self.next.get(at, 0)

    def store(self, records: list[Record]) -> None:
        """As `WHERE next = expected` does: what another member stored first is not stored again."""
        with self.lock:
            for record in records:
                at = TopicPartition(record.topic, record.partition)
                if record.offset == self.next.get(at, 0):
                    self.next[at] = record.offset + 1
                    self.values.append(record.value)


def read_into(owner: Owner, consumer: EventConsumer, stop: threading.Event, seen: set[int]) -> None:
    while not stop.is_set():
        records = consumer.poll(0.2)
        seen.update(record.partition for record in records)
        owner.store(records)
        consumer.report(dict(owner.next))


def test_members_share_the_partitions_and_take_over_from_each_other(broker: Broker) -> None:
    if not broker.has_admin:
        pytest.skip(f"{broker.name} does not share a group between members")
    owner = Owner()
    arena = KafkaArena(broker)
    with arena.bus() as bus:
        members = [bus.consumer([FEEDBACK.name], group="learner", start=owner.start) for _ in range(2)]
        stops = [threading.Event() for _ in members]
        seen: list[set[int]] = [set(), set()]
        threads = [
            threading.Thread(target=read_into, args=(owner, member, stop, partitions))
            for member, stop, partitions in zip(members, stops, seen, strict=True)
        ]
        for thread in threads:
            thread.start()
        sent = 0
        deadline = time.monotonic() + 90
        while not (seen[0] and seen[1] and not seen[0] & seen[1]) and time.monotonic() < deadline:
            for partitions in seen:
                partitions.clear()
            bus.append([NewRecord(FEEDBACK.name, f"key-{i}", new_id("ev"), b"%d" % (sent + i)) for i in range(40)])
            sent += 40
            wait_for(owner, sent, deadline)
        assert seen[0]
        assert seen[1]
        stops[0].set()
        threads[0].join()
        members[0].close()
        bus.append([NewRecord(FEEDBACK.name, f"key-{i}", new_id("ev"), b"%d" % (sent + i)) for i in range(40)])
        wait_for(owner, sent + 40, time.monotonic() + 60)
        stops[1].set()
        threads[1].join()
        members[1].close()
    assert sorted(owner.values, key=int) == [b"%d" % i for i in range(sent + 40)]


def wait_for(owner: Owner, count: int, deadline: float) -> None:
    while len(owner.values) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(owner.values) == count
