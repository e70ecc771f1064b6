"""Reads a topic whole and stays with it: how every service process sees what learner and service said of policies."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from thumbwheel.bus import BusError, EventBus, EventConsumer, Record, TopicPartition
from thumbwheel.internal import LogPosition
from thumbwheel_service.errors import Gone, TooMany, Unavailable
from thumbwheel_service.log.service import LogService

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_WAIT_MS = 10_000
_PAGE = 500


class Follower(Protocol):
    """Follows topics on whichever bus is configured."""

    def follow(self, topic: str) -> AsyncIterator[Record]:
        """Every record of `topic` from its beginning, then each new one as it comes; ends only by being closed.

        Outages are waited out. A reader that is restarted sees everything again: it must be idempotent.
        """
        ...


class _Pauses:
    """Says once that following a topic pauses, and once that it goes on."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._paused = False

    async def pause(self, reason: Exception) -> None:
        """Wait before the next attempt."""
        if not self._paused:
            _log.warning("following %s pauses: %s", self._topic, reason)
        self._paused = True
        await asyncio.sleep(_RETRY_SECONDS)

    def goes_on(self) -> None:
        """An attempt has succeeded."""
        if self._paused:
            _log.info("following %s goes on", self._topic)
        self._paused = False


class LogFollower:
    """Follows the log table of this service."""

    def __init__(self, log: LogService) -> None:
        self._log = log

    async def follow(self, topic: str) -> AsyncIterator[Record]:
        """See `Follower`."""
        positions: list[LogPosition] = []
        pauses = _Pauses(topic)
        while True:
            try:
                positions = positions or await self._log.starts(topic)
                pages = await self._log.read(positions, limit=_PAGE, wait_ms=_WAIT_MS)
            except Gone:
                positions = []
                continue
            except (Unavailable, TooMany) as error:
                await pauses.pause(error)
                continue
            pauses.goes_on()
            for i, page in enumerate(pages):
                partition = positions[i].partition
                for row in page.rows:
                    yield Record(topic, partition, row.offset, row.key, row.value)
                if page.rows:
                    positions[i] = LogPosition(topic, partition, page.rows[-1].offset + 1)


class BusFollower:
    """Follows Kafka: a consumer without a group, in one thread of its own, as the driver wants it."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def follow(self, topic: str) -> AsyncIterator[Record]:
        """See `Follower`."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"follow-{topic}")
        consumer: EventConsumer | None = None
        positions: dict[TopicPartition, int] = {}
        pauses = _Pauses(topic)

        def connect() -> EventConsumer:
            return self._bus.consumer([topic], group=None, start=lambda at: positions.get(at, 0))

        try:
            while True:
                try:
                    current = consumer or await loop.run_in_executor(thread, connect)
                    consumer = current
                    records = await loop.run_in_executor(thread, current.poll, _POLL_SECONDS)
                except BusError as error:
                    if consumer is not None:
                        thread.submit(consumer.close)
                        consumer = None
                    await pauses.pause(error)
                    continue
                pauses.goes_on()
                for record in records:
                    positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
                    yield record
        finally:
            if consumer is not None:
                thread.submit(consumer.close)
            thread.shutdown(wait=False)
