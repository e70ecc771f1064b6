"""What a bus must do, whichever road it takes: durable appends, ordered reads from an offset the reader owns."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from thumbwheel.errors import ThumbwheelError


class BusError(ThumbwheelError):
    """Root of the bus's errors."""


class BusUnavailable(BusError):
    """The bus did not answer; nothing is lost, try again later."""


class OffsetOutOfRange(BusError):
    """The stored offset is no longer on the bus: an alarm for an operator, never a jump."""


class TopicPartition(NamedTuple):
    """One ordered sequence of records."""

    topic: str
    partition: int


class NewRecord(NamedTuple):
    """A record to append; the bus picks the partition by key."""

    topic: str
    key: str
    event_id: str
    value: bytes


class Record(NamedTuple):
    """A record as read: dense offsets on the embedded bus, ascending ones on Kafka."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, the same on every bus and in every process."""
    return zlib.crc32(key_bytes(key)) % partitions


def key_text(key: bytes) -> str:
    """A key as it lies on a bus, which may be any bytes; `key_bytes` gives them back."""
    return key.decode("utf-8", "surrogateescape")


def key_bytes(key: str) -> bytes:
    """The bytes of a key."""
    return key.encode("utf-8", "surrogateescape")


class EventConsumer(Protocol):
    """Reads the partitions assigned to it, from offsets that its owner stores together with its rows."""

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records in offset order per partition, at once when there are any, else after `timeout_s` none.

        Raises `BusUnavailable`, `OffsetOutOfRange`.
        """
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read this partition from `offset` next, e.g. after a rolled-back transaction."""
        ...

    def begins(self) -> Mapping[TopicPartition, int]:
        """The lowest offset still there of every partition, whoever reads it; raises `BusUnavailable`."""
        ...

    def ends(self) -> Mapping[TopicPartition, int]:
        """The offset that the next record of every partition will get; raises `BusUnavailable`."""
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where the next poll goes on, of the partitions assigned: behind what was given out, and behind empty ends.

        A partition is read whole once its position has come to where it ended.
        """
        ...

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the bus what has been stored, for lag figures only; never read back."""
        ...

    def close(self) -> None:
        """Leave; safe to call twice."""
        ...


class EventBus(Protocol):
    """A durable log of topics, each split into partitions by key."""

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append durably: on return every record is on the bus (at least once; readers deduplicate by event id).

        Raises `BusUnavailable`.
        """
        ...

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        """A consumer of `topics`; with `group` the partitions are shared out, with None it reads all of them.

        `start` is asked for the stored offset whenever a partition is assigned (0 for the beginning).
        """
        ...

    def close(self) -> None:
        """Release connections; safe to call twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
