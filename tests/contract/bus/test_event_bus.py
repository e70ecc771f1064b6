"""What both roads must do, and do alike."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from tests.contract.bus.conftest import Arena

from thumbwheel.bus import (
    BusUnavailable,
    EventBus,
    EventConsumer,
    NewRecord,
    OffsetOutOfRange,
    Record,
    TopicPartition,
    partition_of,
)
from thumbwheel.bus.whole import read_whole
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import CONTROL, FEEDBACK, POLICIES, TURNS, new_id


def records(key: str, count: int, topic: str = FEEDBACK.name) -> list[NewRecord]:
    return [NewRecord(topic, key, new_id("ev"), f"{key}:{i}".encode()) for i in range(count)]


def from_start(_: TopicPartition) -> int:
    return 0


def read(consumer: EventConsumer, count: int, seconds: float = 20) -> list[Record]:
    """Poll until `count` records came, then once more to see that there are no others."""
    deadline = time.monotonic() + seconds
    got: list[Record] = []
    while len(got) < count and time.monotonic() < deadline:
        got += consumer.poll(0.5)
    return got + consumer.poll(0.2)


def read_all(
    bus: EventBus,
    topics: Sequence[str],
    count: int,
    *,
    group: str | None = None,
    start: Callable[[TopicPartition], int] = from_start,
) -> list[Record]:
    consumer = bus.consumer(topics, group=group, start=start)
    try:
        return read(consumer, count)
    finally:
        consumer.close()


def test_records_of_one_key_arrive_in_the_order_they_were_appended(arena: Arena) -> None:
    sent = records("ann", 40)
    with arena.bus() as bus:
        bus.append(sent[:15])
        bus.append(sent[15:])
        got = read_all(bus, [FEEDBACK.name], len(sent))
    assert [r.value for r in got] == [r.value for r in sent]
    assert {r.key for r in got} == {"ann"}
    assert {r.topic for r in got} == {FEEDBACK.name}


def test_offsets_ascend_and_are_dense_where_promised(arena: Arena) -> None:
    with arena.bus() as bus:
        for key in ("ann", "bob", "cem", "dee", "eve"):
            bus.append(records(key, 5))
        got = read_all(bus, [FEEDBACK.name], 25)
    assert len(got) == 25
    for partition in range(FEEDBACK.partitions):
        offsets = [r.offset for r in got if r.partition == partition]
        assert offsets == sorted(set(offsets))
        if arena.dense:
            assert offsets == list(range(len(offsets)))


def test_a_key_lives_in_the_partition_that_its_hash_names(arena: Arena) -> None:
    keys = [f"conversation-{i}" for i in range(20)]
    with arena.bus() as bus:
        bus.append([NewRecord(TURNS.name, key, new_id("ev"), b"x") for key in keys])
        got = read_all(bus, [TURNS.name], len(keys))
    assert {r.key: r.partition for r in got} == {key: partition_of(key, TURNS.partitions) for key in keys}


def test_two_keys_of_one_partition_keep_their_common_order(arena: Arena) -> None:
    ann = "ann"
    same = next(f"k{i}" for i in range(100) if partition_of(f"k{i}", 4) == partition_of(ann, 4))
    sent = [NewRecord(FEEDBACK.name, key, new_id("ev"), f"{key}{i}".encode()) for i in range(10) for key in (ann, same)]
    with arena.bus() as bus:
        bus.append(sent)
        got = read_all(bus, [FEEDBACK.name], len(sent))
    assert [r.value for r in got] == [r.value for r in sent]


def test_reading_resumes_at_the_offset_that_the_owner_stored(arena: Arena) -> None:
    sent = records("ann", 10, CONTROL.name)
    with arena.bus() as bus:
        bus.append(sent)
        first = read_all(bus, [CONTROL.name], 10)
        middle = first[6].offset
        rest = read_all(bus, [CONTROL.name], 4, start=lambda at: middle)
    assert [r.value for r in rest] == [r.value for r in sent[6:]]


def test_each_topic_starts_where_its_owner_says(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append([*records("v", 3, POLICIES.name), *records("c", 3, CONTROL.name)])
        start = {TopicPartition(POLICIES.name, 0): 2, TopicPartition(CONTROL.name, 0): 1}
        got = read_all(bus, [POLICIES.name, CONTROL.name], 3, start=lambda at: start[at])
    assert sorted(r.value for r in got) == [b"c:1", b"c:2", b"v:2"]


def test_seeking_back_delivers_again(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 5, CONTROL.name))
        consumer = bus.consumer([CONTROL.name], group=None, start=from_start)
        first = read(consumer, 5)
        consumer.seek(TopicPartition(CONTROL.name, 0), first[2].offset)
        again = read(consumer, 3)
        consumer.close()
    assert again == first[2:]


def test_seeking_forward_skips(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 5, CONTROL.name))
        consumer = bus.consumer([CONTROL.name], group=None, start=from_start)
        consumer.seek(TopicPartition(CONTROL.name, 0), 4)
        got = read(consumer, 1)
        consumer.close()
    assert [r.value for r in got] == [b"ann:4"]


def test_readers_without_a_group_each_read_everything(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 3, CONTROL.name))
        one = bus.consumer([CONTROL.name], group=None, start=from_start)
        two = bus.consumer([CONTROL.name], group=None, start=from_start)
        assert [r.value for r in read(one, 3)] == [r.value for r in read(two, 3)] == [b"ann:0", b"ann:1", b"ann:2"]
        one.close()
        two.close()


def test_a_compacted_topic_keeps_at_least_the_last_record_of_every_key(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append([*records("route", 4, POLICIES.name), *records("published/v1", 1, POLICIES.name)])
        bus.append(records("route", 3, POLICIES.name))
        consumer = bus.consumer([POLICIES.name], group=None, start=from_start)
        got: list[Record] = []
        while not {"route", "published/v1"} <= {r.key for r in got} or got[-1].value != b"route:2":
            got += consumer.poll(5)
        consumer.close()
    assert {r.key: r.value for r in got} == {"route": b"route:2", "published/v1": b"published/v1:0"}
    assert [r.offset for r in got] == sorted({r.offset for r in got})


def test_a_topic_is_read_whole_up_to_where_it_ends(arena: Arena) -> None:
    with arena.bus() as bus:
        assert read_whole(bus, FEEDBACK.name) == []
        for key in ("ann", "bob", "cem"):
            bus.append([*records(key, 4), *records(key, 2, POLICIES.name)])
        assert {r.key for r in read_whole(bus, POLICIES.name)} == {"ann", "bob", "cem"}
        assert len(read_whole(bus, FEEDBACK.name)) == 12


def test_a_group_reads_from_the_owners_offsets_whatever_was_reported(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 6, CONTROL.name))
        first = bus.consumer([CONTROL.name], group="learner", start=from_start)
        got = read(first, 6)
        first.report({TopicPartition(CONTROL.name, 0): got[-1].offset + 1})
        first.close()
        again = read_all(bus, [CONTROL.name], 4, group="learner", start=lambda at: got[2].offset)
    assert again == got[2:]


def test_a_waiting_reader_gets_what_is_appended_meanwhile(arena: Arena) -> None:
    with arena.bus() as bus:
        consumer = bus.consumer([FEEDBACK.name, CONTROL.name], group=None, start=from_start)
        assert consumer.poll(0.1) == []
        later = threading.Timer(0.3, lambda: bus.append(records("ann", 1)))
        later.start()
        got = consumer.poll(20)
        later.join()
        consumer.close()
    assert [r.value for r in got] == [b"ann:0"]


def test_large_values_pass_unchanged(arena: Arena) -> None:
    large = bytes(range(256)) * 3000
    with arena.bus() as bus:
        bus.append([NewRecord(TURNS.name, f"k{i}", new_id("ev"), large) for i in range(6)])
        got = read_all(bus, [TURNS.name], 6)
    assert [r.value == large for r in got] == [True] * 6


def test_many_records_in_one_append(arena: Arena) -> None:
    sent = records("ann", 2500)
    with arena.bus() as bus:
        bus.append(sent)
        got = read_all(bus, [FEEDBACK.name], len(sent))
    assert [r.value for r in got] == [r.value for r in sent]


def test_an_offset_beyond_the_end_is_an_alarm(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 3, CONTROL.name))
        with pytest.raises(OffsetOutOfRange):
            read_all(bus, [CONTROL.name], 1, start=lambda at: 50)


def test_an_offset_that_was_pruned_is_an_alarm_and_never_a_jump(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 5, CONTROL.name))
        arena.trim(CONTROL.name, 0, 3)
        with pytest.raises(OffsetOutOfRange):
            read_all(bus, [CONTROL.name], 1)
        assert [r.value for r in read_all(bus, [CONTROL.name], 2, start=lambda at: 3)] == [b"ann:3", b"ann:4"]


def test_a_group_is_alarmed_by_an_offset_out_of_range_too(arena: Arena) -> None:
    with arena.bus() as bus:
        bus.append(records("ann", 5, CONTROL.name))
        with pytest.raises(OffsetOutOfRange):
            read_all(bus, [CONTROL.name], 1, group="learner", start=lambda at: 50)


def test_a_reader_knows_where_its_partitions_begin_and_end_and_when_it_is_there(arena: Arena) -> None:
    at = TopicPartition(CONTROL.name, 0)
    with arena.bus() as bus:
        bus.append(records("ann", 5, CONTROL.name))
        bus.append(records("ann", 2))
        arena.trim(CONTROL.name, 0, 3)
        consumer = bus.consumer([CONTROL.name, FEEDBACK.name], group=None, start=lambda p: 3 if p == at else 0)
        begins, ends = consumer.begins(), consumer.ends()
        assert set(begins) == set(ends) == {at, *(TopicPartition(FEEDBACK.name, p) for p in range(FEEDBACK.partitions))}
        assert (begins[at], ends[at], consumer.positions()[at]) == (3, 5, 3)
        assert sum(ends[p] - begins[p] for p in ends) == 4
        read(consumer, 4)
        assert consumer.positions() == ends
        bus.append(records("ann", 1, CONTROL.name))
        assert (consumer.positions()[at], consumer.ends()[at]) == (5, 6)
        consumer.close()
        with pytest.raises(BusUnavailable):
            consumer.ends()


def test_a_partition_that_was_pruned_to_its_end_is_read_whole_at_once(arena: Arena) -> None:
    at = TopicPartition(CONTROL.name, 0)
    with arena.bus() as bus:
        bus.append(records("ann", 3, CONTROL.name))
        arena.trim(CONTROL.name, 0, 3)
        consumer = bus.consumer([CONTROL.name], group="learner", start=lambda _: 3)
        assert consumer.poll(0.2) == []
        assert consumer.begins() == consumer.ends() == {at: 3}
        consumer.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_outage_is_bus_unavailable_and_passes(arena: Arena) -> None:
    if not arena.can_fail:
        pytest.skip("this broker is not ours to stop")
    with arena.bus() as bus:
        bus.append(records("before", 2, CONTROL.name))
        consumer = bus.consumer([CONTROL.name], group=None, start=from_start)
        assert len(read(consumer, 2)) == 2
        arena.stop()
        try:
            with pytest.raises(BusUnavailable):
                bus.append(records("during", 1, CONTROL.name))
            with pytest.raises(BusUnavailable):
                poll_until_it_fails(consumer)
            with pytest.raises(BusUnavailable):
                bus.consumer([CONTROL.name], group=None, start=from_start).poll(5)
        finally:
            arena.start()
        consumer.close()
        append_when_back(bus, records("after", 2, CONTROL.name))
        got = read_all(bus, [CONTROL.name], 4)
    values = [r.value for r in got]
    assert values[:2] == [b"before:0", b"before:1"]
    assert list(dict.fromkeys(v for v in values if v.startswith(b"after"))) == [b"after:0", b"after:1"]


def poll_until_it_fails(consumer: EventConsumer) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        consumer.poll(0.5)


def append_when_back(bus: EventBus, sent: list[NewRecord]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            bus.append(sent)
        except BusUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def test_an_unknown_topic_is_refused(arena: Arena) -> None:
    with arena.bus() as bus, pytest.raises(ConfigurationError, match=r"thumbwheel\.feedback"):
        bus.consumer(["thumbwheel.feedbak"], group=None, start=from_start)


def test_closing_twice_is_harmless_and_a_closed_bus_says_so(arena: Arena) -> None:
    bus = arena.bus()
    bus.append(records("ann", 1))
    consumer = bus.consumer([FEEDBACK.name], group=None, start=from_start)
    consumer.close()
    consumer.close()
    with pytest.raises(BusUnavailable):
        consumer.poll(0)
    bus.close()
    bus.close()
    with pytest.raises(BusUnavailable):
        bus.append(records("ann", 1))
