"""What the learner has stored, in offsets of this log: known as they are, or proven by way of Kafka."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple, Protocol

from thumbwheel.bus import EventBus, TopicPartition
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.log import prune

Offsets = Mapping[TopicPartition, int]


class Known(NamedTuple):
    """What may be said of the log by what the learner has said of the bus."""

    stored: Offsets
    """Every row below is stored by the learner."""
    behind: int
    """Records that the learner has not stored yet."""


class Evidence(Protocol):
    """Translates the offsets of the bus that the learner reads."""

    async def of(self, told: Offsets) -> Known:
        """What follows from the learner having stored everything below `told`. Raises `BusError`, `Unavailable`."""
        ...


class FromLog:
    """The learner reads the log itself: it speaks in its offsets."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def of(self, told: Offsets) -> Known:
        """See `Evidence`."""
        heads = await self._reader.run(prune.heads)
        return Known(told, sum(max(0, head.next - told.get(at, 0)) for at, head in heads.items()))


class _Checkpoint(NamedTuple):
    carried: int
    """Every row of the log below was on Kafka …"""
    end: int
    """… before Kafka's partition ended here."""


class FromKafka:
    """The learner reads Kafka, whose offsets are others: repeated records are there more than once.

    What the relay had carried before Kafka was asked for its end lies before that end, wherever exactly. So once the
    learner has stored up to there, it has stored all of that. Kept in memory: a process that starts anew proves anew.
    """

    def __init__(self, reader: Reader, bus: EventBus) -> None:
        self._reader = reader
        self._bus = bus
        self._open: dict[TopicPartition, _Checkpoint] = {}
        self._proven: dict[TopicPartition, int] = {}

    async def of(self, told: Offsets) -> Known:
        """See `Evidence`."""
        heads = await self._reader.run(prune.heads)
        carried = await self._reader.run(prune.carried)
        ends = await asyncio.to_thread(self._ends)
        behind = sum(max(0, head.next - carried.get(at, 0)) for at, head in heads.items())
        for at, end in ends.items():
            stored = told.get(at, 0)
            behind += max(0, end - stored)
            if stored > end:  # it speaks of another cluster, or this one has lost records
                self._open.pop(at, None)
                self._proven.pop(at, None)
                continue
            checkpoint = self._open.get(at)
            if checkpoint is not None and stored >= checkpoint.end:
                self._proven[at] = checkpoint.carried
                checkpoint = None
            self._open[at] = checkpoint or _Checkpoint(carried.get(at, 0), end)
        return Known(dict(self._proven), behind)

    def _ends(self) -> Offsets:
        topics = list(dict.fromkeys(at.topic for at in prune.PARTITIONS))
        with closing(self._bus.consumer(topics, group=None, start=lambda _: 0)) as consumer:
            return consumer.ends()
