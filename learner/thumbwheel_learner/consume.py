"""Bus → store: one transaction per batch holds the rows, the dead letters and the offsets that stand for them."""

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from thumbwheel import failpoint
from thumbwheel.bus import BusError, BusUnavailable, EventBus, EventConsumer, OffsetOutOfRange, Record, TopicPartition
from thumbwheel.events import CONTROL, ERASURES, FEEDBACK, POLICIES, REVIEWS, TURNS, now_ms
from thumbwheel_learner.store.commit import REFUSED, Offsets, commit, commit_singly
from thumbwheel_learner.store.examine import Accepted, ContractBroken, NewerSchema, Rejected, examine
from thumbwheel_learner.store.ingest import OffsetMoved, stored_offset
from thumbwheel_learner.store.session import reading

log = logging.getLogger(__name__)
TOPICS_READ = (TURNS.name, FEEDBACK.name, POLICIES.name, CONTROL.name, ERASURES.name, REVIEWS.name)
GROUP = "thumbwheel-learner"
Batch = dict[TopicPartition, list[Record]]
_AHEAD_SECONDS = 0.05


class Stored(NamedTuple):
    """What one committed batch brought: records and dead letters per topic, how far each partition is stored."""

    records: Mapping[str, int]
    dead_letters: Mapping[str, int]
    offsets: Offsets


class Trouble(NamedTuple):
    """Why reading does not get on; shown to operators."""

    kind: str
    """bus_unavailable | bus_refused | offset_out_of_range | newer_schema | store_unavailable |
    unexpected"""
    detail: str


class Consumer:
    """Reads turns, feedback, policies, control and questions into the store, exactly once in effect.

    `step()` handles one poll; `run()` does so until told to stop, backing off (doubling up to `max_backoff_s`) while
    bus or store is away. An offset that is no longer on the bus is an alarm, never a jump. `on_trouble` hears of
    everything that keeps reading from going on, and None when it goes on again. A record of a newer schema pauses its
    partition, or, set aside, becomes a dead letter that can be replayed after an upgrade. While a batch of `backlog`
    records or more is being committed the next one is read already.
    """

    def __init__(
        self,
        engine: Engine,
        bus: EventBus,
        *,
        group: str | None = GROUP,
        on_stored: Callable[[Stored], None] = lambda stored: None,
        on_trouble: Callable[[Trouble | None], None] = lambda trouble: None,
        clock: Callable[[], float] = time.monotonic,
        newer_schema: Literal["pause", "set-aside"] = "pause",
        retry_paused_s: float = 30.0,
        max_backoff_s: float = 5.0,
        backlog: int = 1_000,
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._group = group
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._clock = clock
        self._newer_schema = newer_schema
        self._retry_paused_s = retry_paused_s
        self._max_backoff_s = max_backoff_s
        self._backlog = backlog
        self._next: dict[TopicPartition, int] = {}
        self._paused_until: dict[TopicPartition, float] = {}
        self._ahead: Batch = {}
        """Read while the batch before it was being committed; nothing of it is stored yet."""
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="consume")
        self._consumer: EventConsumer | None = None
        self._troubled = False
        self._complained = ""
        self.caught_up_ms = 0
        """When the bus was last asked and had nothing new: all that was appended before is stored."""

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set; whatever goes wrong is reported and tried again."""
        backoff, patience = 0.25, 0.0
        try:
            while not stop.is_set():
                try:
                    patience = 0.02 if self.step(patience) else 1.0
                    backoff = 0.25
                    self._recovered()
                except Exception as error:  # whatever it is: a consumer that dies silently would lose everything after
                    self._report(error)
                    self._rejoin()
                    stop.wait(backoff)
                    backoff = min(backoff * 2, self._max_backoff_s)
        finally:
            self.close()

    def step(self, timeout_s: float = 1.0) -> int:
        """Poll once and store what came; returns how many records were stored.

        Raises `BusUnavailable`, `OffsetOutOfRange`, or the database's error; nothing of the batch is stored then.
        """
        consumer = self._consumer or self._join()
        self._wake_paused(consumer)
        batch = self._take_ahead() or self._read(consumer, timeout_s)
        if not batch:
            return 0
        try:
            stored = self._store(consumer, batch)
        except OffsetMoved as error:
            log.warning("%s; reading again from the stored offset", error)
            self._seek_back(consumer, batch)
            return 0
        except REFUSED:
            self._seek_back(consumer, batch)
            raise
        if stored.offsets:
            failpoint.reach("consume.stored")
            consumer.report(stored.offsets)
            self._on_stored(stored)
        return sum(stored.records.values()) + sum(stored.dead_letters.values())

    def _read(self, consumer: EventConsumer, timeout_s: float) -> Batch:
        asked_ms = now_ms()
        records = consumer.poll(timeout_s)
        if not records and self._next:
            self.caught_up_ms = asked_ms
        return self._fresh(records)

    def _take_ahead(self) -> Batch:
        ahead, self._ahead = self._ahead, {}
        return ahead

    def reached(self) -> dict[TopicPartition, int]:
        """Up to where each partition has been read and stored; the empty end of one counts as read.

        True between steps that returned. Empty before the first.
        """
        passed: Offsets = self._consumer.positions() if self._consumer else {}
        behind = self._paused_until.keys() | self._ahead.keys()
        return {at: kept if at in behind else max(kept, passed.get(at, 0)) for at, kept in self._next.items()}

    def close(self) -> None:
        """Leave the bus; safe to call twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _join(self) -> EventConsumer:
        self._next.clear()
        self._ahead.clear()
        self._paused_until.clear()
        self._consumer = self._bus.consumer(TOPICS_READ, group=self._group, start=self._start)
        return self._consumer

    def _rejoin(self) -> None:
        with contextlib.suppress(BusError):
            self.close()

    def _start(self, partition: TopicPartition) -> int:
        self._ahead.pop(partition, None)
        with reading(self._engine) as session:
            self._next[partition] = stored_offset(session, partition)
        return self._next[partition]

    def _fresh(self, records: Sequence[Record]) -> Batch:
        """Group by partition, leaving out paused partitions and what is stored already."""
        batch: dict[TopicPartition, dict[int, Record]] = defaultdict(dict)
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            expected = self._next[partition] if partition in self._next else self._start(partition)
            if partition not in self._paused_until and record.offset >= expected:
                batch[partition][record.offset] = record
        return {partition: [found[offset] for offset in sorted(found)] for partition, found in batch.items()}

    def _store(self, consumer: EventConsumer, batch: Batch) -> Stored:
        accepted: list[Accepted] = []
        rejected: list[Rejected] = []
        reached: dict[TopicPartition, int] = {}
        for partition, records in sorted(batch.items()):
            offset = self._examine(partition, records, accepted, rejected)
            if offset is not None:
                reached[partition] = offset
        if reached:
            ahead: list[Record] = []
            try:
                accepted, rejected = self._commit(consumer, reached, accepted, rejected, ahead)
            except BaseException:
                self._seek_back(consumer, {TopicPartition(record.topic, record.partition) for record in ahead})
                raise
            self._next.update(reached)
            self._ahead = self._fresh(ahead)
        return Stored(_by_topic(accepted), _by_topic(rejected), reached)

    def _examine(
        self,
        partition: TopicPartition,
        records: Sequence[Record],
        accepted: list[Accepted],
        rejected: list[Rejected],
    ) -> int | None:
        """Sort the records of one partition; returns the offset reached, None when not even one may be passed."""
        reached: int | None = None
        for record in records:
            try:
                accepted.append(Accepted(record, examine(record)))
            except (ContractBroken, NewerSchema) as error:
                if isinstance(error, NewerSchema) and self._newer_schema == "pause":
                    self._pause(partition, record, error)
                    break
                log.error("dead letter %s/%d/%d: %r", *partition, record.offset, str(error))
                rejected.append(Rejected(record, str(error)))
            reached = record.offset + 1
        return reached

    def _commit(
        self,
        consumer: EventConsumer,
        reached: Offsets,
        accepted: list[Accepted],
        rejected: list[Rejected],
        ahead: list[Record],
    ) -> tuple[list[Accepted], list[Rejected]]:
        """Commit a batch, one by one where the store refuses it; while a large one is under way, read on into `ahead`.

        Returns what became of its records.
        """
        work = partial(commit, self._engine, dict(self._next), reached, accepted, rejected)
        try:
            if len(accepted) < self._backlog:
                work()
            else:
                committing = self._beside.submit(work)
                with contextlib.suppress(Exception):  # the next poll says it again
                    ahead += consumer.poll(_AHEAD_SECONDS)
                committing.result()
        except OperationalError:
            raise
        except REFUSED as error:
            log.error("a batch was refused by the store (%s); storing its records one by one", error)
            return commit_singly(self._engine, self._next, accepted, rejected)
        return accepted, rejected

    def _pause(self, partition: TopicPartition, record: Record, error: NewerSchema) -> None:
        detail = f"{partition.topic}/{partition.partition}@{record.offset}: {error}; upgrade this learner"
        detail += ", or set THUMBWHEEL_NEWER_SCHEMA=set-aside"
        log.error("reading paused: %s", detail)
        self._paused_until[partition] = self._clock() + self._retry_paused_s
        self._troubled = True
        self._on_trouble(Trouble("newer_schema", detail))

    def _wake_paused(self, consumer: EventConsumer) -> None:
        now = self._clock()
        for partition in [p for p, until in self._paused_until.items() if until <= now]:
            del self._paused_until[partition]
            consumer.seek(partition, self._start(partition))

    def _seek_back(self, consumer: EventConsumer, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            consumer.seek(partition, self._start(partition))

    def _report(self, error: Exception) -> None:
        match error:
            case OffsetOutOfRange():
                kind = "offset_out_of_range"
            case BusUnavailable():
                kind = "bus_unavailable"
            case BusError():
                kind = "bus_refused"
            case SQLAlchemyError():
                kind = "store_unavailable"
            case _:
                kind = "unexpected"
        if str(error) != self._complained:
            log.error("%s: %s", kind, error, exc_info=error if kind == "unexpected" else None)
            self._complained = str(error)
        self._troubled = True
        self._on_trouble(Trouble(kind, str(error)))

    def _recovered(self) -> None:
        if self._troubled and not self._paused_until:
            log.info("reading goes on")
            self._troubled, self._complained = False, ""
            self._on_trouble(None)


def _by_topic(items: Sequence[Accepted] | Sequence[Rejected]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for item in items:
        counts[item.record.topic] += 1
    return counts
