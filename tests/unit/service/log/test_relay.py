"""The relay carries everything, in order, across outages and restarts, and never skips."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pytest
from sqlalchemy import update
from tests.unit.service.log.conftest import Log, partition
from tests.waiting import eventually

from thumbwheel.bus import BusUnavailable, EventConsumer, NewRecord, TopicPartition
from thumbwheel.bus.protocol import BusError
from thumbwheel.events import CONTROL, LEARNER, TURNS
from thumbwheel_service.db.tables import RelayRow
from thumbwheel_service.log.append import append_records
from thumbwheel_service.log.lease import NotMine
from thumbwheel_service.log.relay import LANES, PARTITIONS, Relay, relay_lag
from thumbwheel_service.owner import Owner

ONE = Owner("one", "boot")


class MemoryBus:
    """Kafka's append side in memory, with outages: `refuse` before anything, `forget` after everything was taken."""

    def __init__(self) -> None:
        self.taken: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self.calls: list[int] = []
        self.refuse = 0
        self.forget = 0
        self.most_bytes = 1 << 30

    def append(self, records: Sequence[NewRecord]) -> None:
        self.calls.append(len(records))
        if sum(len(record.value) for record in records) > self.most_bytes:
            raise BusUnavailable("the broker is too slow for so much")
        if self.refuse:
            self.refuse -= 1
            raise BusUnavailable("the broker is down")
        for record in records:
            self.taken[partition(record.topic, record.key)].append(record.value)
        if self.forget:
            self.forget -= 1
            raise BusUnavailable("the acknowledgement was lost")

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        raise NotImplementedError

    def close(self) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def all(self) -> Mapping[TopicPartition, list[bytes]]:
        return self.taken


def relay(log: Log, bus: MemoryBus, owner: Owner = ONE, **options: Any) -> Relay:
    return Relay(bus, log.writer, log.reader, log.signal, owner, **options)


async def test_every_partition_is_carried_in_order(log: Log) -> None:
    bus = MemoryBus()
    names = [f"t{i:03}" for i in range(120)]
    await log.append(TURNS.name, *names)
    await log.append(CONTROL.name, "c0", "c1", key="learner")
    mine = relay(log, bus)
    assert await log.reader.run(relay_lag) == 122
    assert await mine.carry() == 122
    assert await mine.carry() == 0
    assert await log.reader.run(relay_lag) == 0
    for at, values in bus.all().items():
        expected = [n.encode() for n in names if partition(TURNS.name, n) == at] or [b"c0", b"c1"]
        assert values == expected


async def test_a_long_backlog_is_carried_in_loads(log: Log) -> None:
    bus = MemoryBus()
    for start in range(0, 5000, 500):
        await log.append(CONTROL.name, *[f"c{i}" for i in range(start, start + 500)], key="learner")
    mine = relay(log, bus)
    carried = []
    while count := await mine.carry():
        carried.append(count)
    assert carried == [4000, 1000]
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [f"c{i}".encode() for i in range(5000)]


async def test_the_lanes_share_the_partitions_and_leave_each_others_leases_alone(log: Log) -> None:
    assert sorted(at for lane in LANES for at in lane) == sorted(PARTITIONS)
    bus = MemoryBus()
    lanes = [relay(log, bus, partitions=lane) for lane in LANES]
    names = [f"t{i:03}" for i in range(120)]
    for name in names:
        await log.append(TURNS.name, name, key=name)
    first = await lanes[0].carry()
    assert 0 < first < 120
    await lanes[0].release()
    assert first + await lanes[1].carry() == 120
    assert sorted(value.decode() for values in bus.all().values() for value in values) == names
    assert await log.reader.run(relay_lag) == 0


async def test_an_outage_loses_nothing(log: Log) -> None:
    bus = MemoryBus()
    bus.refuse = 1
    mine = relay(log, bus)
    await log.append(CONTROL.name, "a", key="k")
    with pytest.raises(BusUnavailable):
        await mine.carry()
    await log.append(CONTROL.name, "b", key="k")
    assert await mine.carry() == 2
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [b"a", b"b"]


async def test_a_lost_acknowledgement_repeats_and_keeps_the_order(log: Log) -> None:
    bus = MemoryBus()
    bus.forget = 1
    await log.append(CONTROL.name, "a", "b", key="k")
    mine = relay(log, bus)
    with pytest.raises(BusUnavailable):
        await mine.carry()
    await relay(log, bus).carry()
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [b"a", b"b", b"a", b"b"]


async def test_a_restarted_relay_goes_on_where_the_last_one_was(log: Log) -> None:
    bus = MemoryBus()
    await log.append(CONTROL.name, "a", key="k")
    await relay(log, bus).carry()
    await log.append(CONTROL.name, "b", key="k")
    await relay(log, bus).carry()
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [b"a", b"b"]


async def test_what_was_compacted_away_is_passed_over(log: Log) -> None:
    bus = MemoryBus()
    await log.append(LEARNER.name, *[f"s{i}" for i in range(5)], key="status")
    mine = relay(log, bus)
    assert await mine.carry() == 1
    assert await log.reader.run(relay_lag) == 0
    assert bus.taken[TopicPartition(LEARNER.name, 0)] == [b"s4"]


async def test_a_lease_lost_on_the_way_repeats_and_never_skips(log: Log) -> None:
    class Meddling(MemoryBus):
        def append(self, records: Sequence[NewRecord]) -> None:
            super().append(records)
            if len(self.calls) == 1:
                taken = log.write(lambda s: s.execute(update(RelayRow).values(owner="two/b", epoch=7, until_ms=0)))
                asyncio.run_coroutine_threadsafe(taken, loop).result(5)

    loop = asyncio.get_running_loop()
    bus = Meddling()
    mine = relay(log, bus)
    await log.append(CONTROL.name, "a", key="k")
    with pytest.raises(NotMine):
        await mine.carry()
    assert await log.reader.run(relay_lag) == 1
    assert await mine.carry() == 1
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [b"a", b"a"]


async def test_one_process_carries_until_it_lets_go(log: Log) -> None:
    bus = MemoryBus()
    first, second = relay(log, bus), relay(log, bus, Owner("two", "boot"))
    await log.append(CONTROL.name, "a", key="k")
    assert await first.carry() == 1
    await log.append(CONTROL.name, "b", key="k")
    assert await second.carry() == 0
    await first.release()
    await second.release()
    assert await second.carry() == 1
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == [b"a", b"b"]


async def test_a_restarted_process_does_not_wait_for_its_own_last_lease(log: Log) -> None:
    bus = MemoryBus()
    await relay(log, bus).carry()
    await log.append(CONTROL.name, "a", key="k")
    assert await relay(log, bus, Owner("one", "next boot")).carry() == 1


async def test_it_runs_through_an_outage_by_itself(log: Log) -> None:
    bus = MemoryBus()
    bus.refuse = 2
    told: list[tuple[int, str | None]] = []
    mine = relay(log, bus)
    mine.observe(lambda carried, failure: told.append((carried, failure)))
    running = asyncio.create_task(mine.run())
    await log.append(CONTROL.name, "a", key="k")
    await eventually(lambda: bus.taken)
    await log.append(CONTROL.name, "b", key="k")
    await eventually(lambda: len(bus.taken[TopicPartition(CONTROL.name, 0)]) == 2)
    running.cancel()
    await asyncio.wait([running])
    assert [t for t in told if t[1]][:2] == [(0, "the broker is down")] * 2
    assert sum(carried for carried, _ in told) >= 1


async def test_loads_that_do_not_get_through_are_tried_in_smaller_ones(log: Log) -> None:
    bus = MemoryBus()
    bus.most_bytes = 1 << 20
    values = [bytes([i]) * 100_000 for i in range(50)]
    await log.write(
        lambda session: append_records(
            session, [NewRecord(CONTROL.name, "k", f"e{i}", value) for i, value in enumerate(values)]
        )
    )
    running = asyncio.create_task(relay(log, bus).run())
    await eventually(lambda: len(bus.taken[TopicPartition(CONTROL.name, 0)]) == 50)
    running.cancel()
    await asyncio.wait([running])
    assert bus.taken[TopicPartition(CONTROL.name, 0)] == values
    assert bus.calls[0] == 50


async def test_topics_are_made_first_and_a_refusal_is_no_obstacle(log: Log) -> None:
    attempts: list[int] = []

    def make() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise BusUnavailable("not yet")
        raise BusError("not permitted")

    bus = MemoryBus()
    running = asyncio.create_task(relay(log, bus, make_topics=make).run())
    await log.append(CONTROL.name, "a", key="k")
    await eventually(lambda: bus.taken)
    running.cancel()
    await asyncio.wait([running])
    assert attempts == [0, 1]
