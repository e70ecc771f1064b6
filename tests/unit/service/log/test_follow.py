"""Following reads a topic whole and stays with it, through pauses, on the log and on a bus."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

from sqlalchemy import update
from tests.unit.service.log.conftest import Log
from tests.unit.service.log.test_relay import MemoryBus
from tests.waiting import eventually

from thumbwheel.bus import BusUnavailable, EventConsumer, Record, TopicPartition
from thumbwheel.events import POLICIES
from thumbwheel_service.db.tables import LogHead
from thumbwheel_service.log.follow import BusFollower, Follower, LogFollower


async def first(follower: Follower, count: int) -> list[bytes]:
    """The first records that it yields."""
    found: list[bytes] = []
    async with aclosing(follower.follow(POLICIES.name)) as records:
        async for record in records:
            found.append(record.value)
            if len(found) == count:
                break
    return found


async def test_the_log_is_followed_from_its_beginning_and_on(log: Log) -> None:
    await log.append(POLICIES.name, "a", "b")
    following = asyncio.create_task(first(LogFollower(log.service), 3))
    await asyncio.sleep(0.05)
    assert not following.done()
    await log.append(POLICIES.name, "c")
    assert await asyncio.wait_for(following, 10) == [b"a", b"b", b"c"]


async def test_a_pruned_log_is_followed_from_what_is_left(log: Log) -> None:
    await log.append(POLICIES.name, "a", "b")
    await log.write(lambda s: s.execute(update(LogHead).values(first=1)))
    assert await asyncio.wait_for(first(LogFollower(log.service), 1), 10) == [b"b"]


class ScriptedConsumer:
    """Yields what it was given, batch by batch; an exception in between is raised."""

    def __init__(self, script: list[list[Record] | Exception], threads: set[int]) -> None:
        self._script = script
        self._threads = threads
        self.closed = False

    def poll(self, timeout_s: float) -> list[Record]:
        self._threads.add(threading.get_ident())
        step = self._script.pop(0) if self._script else []
        if isinstance(step, Exception):
            raise step
        return step

    def seek(self, partition: TopicPartition, offset: int) -> None:
        raise NotImplementedError

    def begins(self) -> Mapping[TopicPartition, int]:
        raise NotImplementedError

    def ends(self) -> Mapping[TopicPartition, int]:
        raise NotImplementedError

    def positions(self) -> Mapping[TopicPartition, int]:
        raise NotImplementedError

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._threads.add(threading.get_ident())
        self.closed = True


class ScriptedBus(MemoryBus):
    def __init__(self, *scripts: list[list[Record] | Exception] | Exception) -> None:
        super().__init__()
        self._scripts = list(scripts)
        self.threads: set[int] = set()
        self.starts: list[int] = []
        self.consumers: list[ScriptedConsumer] = []

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        assert group is None
        self.starts.append(start(TopicPartition(topics[0], 0)))
        script = self._scripts.pop(0)
        if isinstance(script, Exception):
            raise script
        self.consumers.append(ScriptedConsumer(script, self.threads))
        return self.consumers[-1]


def record(offset: int) -> Record:
    return Record(POLICIES.name, 0, offset, "k", str(offset).encode())


async def test_a_bus_is_followed_through_outages_in_one_thread() -> None:
    bus = ScriptedBus(
        BusUnavailable("down"),
        [[record(0), record(3)], [], BusUnavailable("down again")],
        [[record(4)]],
    )
    found = await asyncio.wait_for(first(BusFollower(bus), 3), 20)
    assert found == [b"0", b"3", b"4"]
    assert bus.starts == [0, 0, 4]
    await eventually(lambda: all(consumer.closed for consumer in bus.consumers))
    assert len(bus.threads) == 1
    assert threading.get_ident() not in bus.threads
