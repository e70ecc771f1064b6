"""The reading side of the bus on Kafka."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from thumbwheel.bus.kafka_driver import BLOCK_MS, RebalanceListener, errors, kafka, known_topic, translated
from thumbwheel.bus.protocol import BusUnavailable, OffsetOutOfRange, Record, TopicPartition, key_text

log = logging.getLogger(__name__)
_PROBE_AFTER_S = 2.0
CONSUMER = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "session_timeout_ms": 10_000,
    "allow_auto_create_topics": False,
    "metadata_max_age_ms": 10_000,
    "max_poll_records": 4_000,
}
"""A group whose leader had not heard of a topic yet gives its partitions to nobody, and finds out with the next
metadata: after ten seconds instead of the driver's five minutes. A backlog is read in large batches, because whoever
stores them pays for one durable commit each; what is fetched ahead is bounded in bytes."""


class _Assigned(RebalanceListener):
    """Notes, on the driver's IO thread, which partitions arrived; the owner's thread positions them before it reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Any] = set()

    def on_partitions_revoked(self, revoked: Any) -> None:
        with self._lock:
            self._waiting.difference_update(revoked)

    def on_partitions_assigned(self, assigned: Any) -> None:
        with self._lock:
            self._waiting.update(assigned)

    def waiting(self) -> set[Any]:
        with self._lock:
            return set(self._waiting)

    def positioned(self, partition: Any) -> None:
        with self._lock:
            self._waiting.discard(partition)


class KafkaConsumer:
    """Reads from the offsets its owner keeps; what the group committed never decides where reading starts."""

    def __init__(
        self,
        driver: Any,
        topics: list[str],
        *,
        group: str | None,
        start: Callable[[TopicPartition], int],
        prefix: str,
    ) -> None:
        self._driver = driver
        self._group = group
        self._start = start
        self._prefix = prefix
        self._assigned = _Assigned()
        self._heard = time.monotonic()
        self._closed = False
        self._everything = [
            kafka.TopicPartition(prefix + t, p) for t in topics for p in range(known_topic(t).partitions)
        ]
        try:
            if group is None:
                driver.assign(self._everything)
                self._assigned.on_partitions_assigned(self._everything)
                self._position()
            else:
                driver.subscribe(topics=[prefix + topic for topic in topics], listener=self._assigned)
        except BaseException:
            self.close()
            raise

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records; see `EventConsumer`."""
        if self._closed:
            raise BusUnavailable("this consumer has been closed")
        deadline = time.monotonic() + max(0.0, timeout_s)
        while True:
            self._position()
            left = max(0.0, deadline - time.monotonic())
            records = self._fetch(min(left, 0.5) * 1000)
            if records or left == 0.0:
                return records

    def _position(self) -> None:
        """Seek newly assigned partitions to the owner's offsets; on this thread, as the owner may ask its database."""
        for partition in self._assigned.waiting():
            offset = self._start(self._ours(partition))
            with suppress(errors.IllegalStateError, AssertionError):
                self._driver.seek(partition, offset)
            self._assigned.positioned(partition)

    def _fetch(self, timeout_ms: float) -> list[Record]:
        try:
            batches = self._driver.poll(timeout_ms=timeout_ms)
        except (errors.NoOffsetForPartitionError, errors.OffsetOutOfRangeError, errors.LogTruncationError) as error:
            if self._assigned.waiting():
                return []  # a partition that has just arrived and is not yet positioned
            raise OffsetOutOfRange(f"the stored offset is not on the bus any more: {error}") from error
        except errors.KafkaError as error:
            raise translated(error) from error
        if not batches:
            self._check_alive()
            return []
        self._heard = time.monotonic()
        unpositioned = self._assigned.waiting()
        return [self._record(at, one) for at, batch in batches.items() if at not in unpositioned for one in batch]

    def _record(self, at: Any, found: Any) -> Record:
        """Whatever somebody may have written: a key that is no text, or nothing at all as key or value."""
        partition = self._ours(at)
        return Record(
            partition.topic, partition.partition, found.offset, key_text(found.key or b""), found.value or b""
        )

    def _check_alive(self) -> None:
        """Silence means nothing new or nobody there; now and then ask which."""
        if time.monotonic() - self._heard < _PROBE_AFTER_S:
            return
        partitions = list(self._driver.assignment() or ())
        try:
            if partitions:
                self._driver.end_offsets(partitions[:1], timeout_ms=2 * BLOCK_MS)
            else:
                self._driver.bootstrap(timeout_ms=2 * BLOCK_MS, refresh=True)
        except errors.KafkaError as error:
            raise translated(error) from error
        self._heard = time.monotonic()

    def _ours(self, partition: Any) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` next; nothing happens when the group has given it to somebody else."""
        with suppress(errors.IllegalStateError, AssertionError):
            self._driver.seek(kafka.TopicPartition(self._prefix + partition.topic, partition.partition), offset)

    def begins(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        return self._offsets(self._driver.beginning_offsets)

    def ends(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`; what `acks=all` has answered lies before them."""
        return self._offsets(self._driver.end_offsets)

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`; the driver's own, which pass over what compaction has left empty."""
        unpositioned = self._assigned.waiting()
        found: dict[TopicPartition, int] = {}
        try:
            for partition in set(self._driver.assignment() or ()) - unpositioned:
                with suppress(errors.IllegalStateError):
                    offset = self._driver.position(partition, timeout_ms=BLOCK_MS)
                    found |= {} if offset is None else {self._ours(partition): offset}
        except errors.KafkaError as error:
            raise translated(error) from error
        return found

    def _offsets(self, ask: Callable[..., Mapping[Any, int]]) -> Mapping[TopicPartition, int]:
        if self._closed:
            raise BusUnavailable("this consumer has been closed")
        try:
            return {self._ours(at): offset for at, offset in ask(self._everything, timeout_ms=2 * BLOCK_MS).items()}
        except errors.KafkaError as error:
            raise translated(error) from error

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit for the group, so that its lag can be watched; a failure is nobody's loss."""
        if self._group is None or not offsets:
            return
        committed = {
            kafka.TopicPartition(self._prefix + at.topic, at.partition): kafka.OffsetAndMetadata(offset, "", -1)
            for at, offset in offsets.items()
        }
        with suppress(errors.KafkaError):
            self._driver.commit_async(committed, callback=_log_commit)

    def close(self) -> None:
        """Leave the group and stop the IO thread; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):
            self._driver.close(autocommit=False, timeout_ms=BLOCK_MS)


def _log_commit(_offsets: Any, answer: Any) -> None:
    if isinstance(answer, Exception):
        log.debug("offsets were not reported: %r", answer)
