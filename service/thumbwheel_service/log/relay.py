"""Carries the log to Kafka, in order per partition and at least once; readers deduplicate by event id."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Row, bindparam, select
from sqlmodel import Session, col

from thumbwheel import failpoint
from thumbwheel.bus import BusError, BusUnavailable, EventBus, NewRecord, TopicPartition
from thumbwheel.events import TOPICS
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import LogHead, LogRow, RelayRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.log import lease
from thumbwheel_service.log.lease import NotMine
from thumbwheel_service.log.signal import LogSignal
from thumbwheel_service.owner import Owner

_log = logging.getLogger(__name__)
PARTITIONS = tuple(TopicPartition(t.name, p) for t in TOPICS.values() for p in range(t.partitions))
LANES = (PARTITIONS[0::2], PARTITIONS[1::2])
"""While one waits for the broker's word the other sends. A partition is in one of them, which keeps its order."""
_BATCH = 4_000
_MOST_BYTES = 32 << 20
_LEAST_BYTES = 256 << 10
_IDLE_SECONDS = 1.0
_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
LEASE_SECONDS = 20.0
"""Longer than an append may take, so that a relay that is alive never loses a lease."""
_RENEWALS = 4
"""So often is a lease renewed before it would run out."""
_LONG_AGO = float("-inf")
_ROWS = (
    select(col(LogRow.offset), col(LogRow.key), col(LogRow.event_id), col(LogRow.value))
    .where(
        col(LogRow.topic) == bindparam("topic"),
        col(LogRow.partition) == bindparam("partition"),
        col(LogRow.offset) >= bindparam("before"),
        col(LogRow.offset) < bindparam("head"),
    )
    .order_by(col(LogRow.offset))
    .limit(_BATCH)
)


class Span(NamedTuple):
    """What is carried of one partition at once."""

    at: TopicPartition
    before: int
    """The stored position."""
    after: int
    """The position once the records are on Kafka."""
    records: list[NewRecord]


class Relay:
    """A task that carries those of its partitions that the process holds leases of; the others it leaves alone.

    Positions and leases lie in the database: a restart goes on where it was, and when a process dies another one takes
    its partitions over. A broker outage costs nothing but time: the log grows, and the relay tries again with growing
    pauses.
    """

    def __init__(
        self,
        bus: EventBus,
        writer: Writer,
        reader: Reader,
        signal: LogSignal,
        owner: Owner,
        *,
        partitions: Sequence[TopicPartition] = PARTITIONS,
        make_topics: Callable[[], object] | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._bus = bus
        self._lease_seconds = lease_seconds
        self._owner = owner
        self._partitions = partitions
        self._held: dict[TopicPartition, int] = {}
        self._renewed = _LONG_AGO
        self._ahead: asyncio.Task[list[Span]] | None = None
        self._room = _MOST_BYTES
        self._make_topics = make_topics
        self._writer = writer
        self._reader = reader
        self._signal = signal
        self._observe: Callable[[int, str | None], None] = _ignore
        self.failing: str | None = None
        """Why the last attempt failed, or None while all is well."""

    def observe(self, callback: Callable[[int, str | None], None]) -> None:
        """Call `callback(records, failure)` after every attempt."""
        self._observe = callback

    async def run(self) -> None:
        """Carry until cancelled; the topics are made first, as far as that is permitted."""
        try:
            await self._carry_on()
        finally:
            await self._drop_ahead()
            with suppress(Unavailable, TooMany):
                await self.release()

    async def _carry_on(self) -> None:
        failures = 0
        with self._signal.watch(self._partitions) as watch:
            while True:
                try:
                    await self._prepare()
                    carried = await self.carry()
                except (BusError, Unavailable, TooMany, NotMine) as error:
                    self._tell(0, str(error))
                    pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
                    failures += 1
                    self._room = max(self._room // 4, _LEAST_BYTES)
                    await asyncio.sleep(pause)
                    continue
                failures = 0
                self._room = min(self._room * 2, _MOST_BYTES)
                self._tell(carried, None)
                if not carried:
                    await watch.wait(_IDLE_SECONDS)

    async def _prepare(self) -> None:
        if self._make_topics is None:
            return
        try:
            await asyncio.to_thread(self._make_topics)
        except BusUnavailable:
            raise
        except BusError as error:
            _log.warning("the topics could not be made, they have to be there already: %s", error)
        self._make_topics = None

    async def carry(self) -> int:
        """Carry one load; returns how many records. Raises `BusUnavailable`, `BusError`, `Unavailable`, `NotMine`.

        While Kafka takes it, the next one is read. After a failure loads are smaller for a while: to a broker that is
        slow, or far away, a large one would never get through in time.
        """
        held = await self._hold()
        load = await self._next(held)
        if not load:
            return 0
        records = [record for span in load for record in span.records]
        self._ahead = asyncio.create_task(self._read(held, {span.at: span.after for span in load}))
        try:
            if records:
                await asyncio.to_thread(self._bus.append, records)
                failpoint.reach("relay.appended")
            await self._writer.run(lambda session: self._moved(session, load, held))
        except BaseException as error:
            await self._drop_ahead()
            if isinstance(error, NotMine):
                self._renewed = _LONG_AGO
            raise
        return len(records)

    async def _next(self, held: Mapping[TopicPartition, int]) -> list[Span]:
        """What was read ahead; else, or where there was nothing then, what there is now."""
        ahead, self._ahead = self._ahead, None
        load = await ahead if ahead is not None else []
        is_ours = all(span.at in held for span in load)
        return load if load and is_ours else await self._read(held, {})

    async def _read(self, held: Mapping[TopicPartition, int], reached: Mapping[TopicPartition, int]) -> list[Span]:
        return await self._reader.run(lambda session: _load(session, held, reached, self._room))

    async def _drop_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])

    async def release(self) -> None:
        """Give the leases back, so that another process need not wait for them to run out."""
        self._renewed = _LONG_AGO
        await self._writer.run(lambda session: lease.release(session, self._owner, self._partitions))

    async def _hold(self) -> Mapping[TopicPartition, int]:
        """Our leases, renewed now and then, with those that others left."""
        if time.monotonic() - self._renewed >= self._lease_seconds / _RENEWALS:
            asked = time.monotonic()
            self._held = await self._writer.run(
                lambda session: lease.take(session, self._owner, self._partitions, int(self._lease_seconds * 1000))
            )
            self._renewed = asked
        return self._held

    def _moved(self, session: Session, load: Sequence[Span], held: Mapping[TopicPartition, int]) -> None:
        for at, before, after, _ in load:
            lease.advance(session, self._owner, at, held[at], before, after)

    def _tell(self, carried: int, failure: str | None) -> None:
        if failure != self.failing:
            if failure is not None:
                _log.warning("the relay pauses, the log keeps everything: %s", failure)
            else:
                _log.info("the relay goes on")
        self.failing = failure
        with suppress(Exception):
            self._observe(carried, failure)


def _load(
    session: Session, held: Mapping[TopicPartition, int], reached: Mapping[TopicPartition, int], room: int
) -> list[Span]:
    """What comes next where we hold the lease, in offset order per partition and some `room` bytes in all.

    `reached`: positions that are not stored yet.
    """
    heads = {TopicPartition(h.topic, h.partition): h.next for h in session.execute(select(LogHead)).scalars()}
    load: list[Span] = []
    for at, stored in lease.positions(session, held).items():
        before = reached.get(at, stored)
        head = heads.get(at, 0)
        if before < head and room > 0:
            load.append(_span(session, at, before, head, room))
            room -= sum(len(record.value) for record in load[-1].records)
    return load


def _span(session: Session, at: TopicPartition, before: int, head: int, room: int) -> Span:
    """Records of one partition; when none is left before its head (compacted away) the position moves there."""
    records: list[NewRecord] = []
    after = before
    rows = _rows(session, at, before, head)
    for offset, key, event_id, value in rows:
        records.append(NewRecord(at.topic, key, event_id, value))
        after = offset + 1
        room -= len(value)
        if room <= 0:
            return Span(at, before, after, records)
    return Span(at, before, head if len(rows) < _BATCH else after, records)


def _rows(session: Session, at: TopicPartition, before: int, head: int) -> Sequence[Row[int, str, str, bytes]]:
    given = {"topic": at.topic, "partition": at.partition, "before": before, "head": head}
    return session.connection().execute(_ROWS, given).all()


def relay_lag(session: Session) -> int:
    """Records that are not on Kafka yet."""
    heads = {(h.topic, h.partition): h.next for h in session.execute(select(LogHead)).scalars()}
    done = {(r.topic, r.partition): r.next for r in session.execute(select(RelayRow)).scalars()}
    return sum(head - done.get(at, 0) for at, head in heads.items())


def _ignore(_carried: int, _failure: str | None) -> None:
    return
