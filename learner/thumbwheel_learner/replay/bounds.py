"""What the bus still has, and a reader that goes no further than it is told."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import NamedTuple, Self

from thumbwheel.bus import EventBus, EventConsumer, NewRecord, Record, TopicPartition
from thumbwheel_learner.consume import TOPICS_READ
from thumbwheel_learner.errors import LearnerError

Offsets = Mapping[TopicPartition, int]


class NotThere(LearnerError):
    """The bus no longer has, or never had, what is to be read again."""


class Span(NamedTuple):
    """Where the partitions that the learner reads begin and end."""

    begins: Offsets
    ends: Offsets

    def require(self, starts: Offsets) -> None:
        """Raise `NotThere`, naming every gap, unless all partitions can be read from these offsets (default 0) on."""
        gaps = [
            f"{named(at)}: asked for {starts.get(at, 0)}, begins at {first}"
            for at, first in sorted(self.begins.items())
            if starts.get(at, 0) < first
        ]
        if gaps:
            raise NotThere(
                "the bus was pruned and does not reach back that far: " + "; ".join(gaps) + ". What begins later can "
                "still be read again (`thumbwheel replay rewind --from oldest`), a rebuild from zero cannot be made"
            )

    def require_end(self, stored: Offsets) -> None:
        """Raise `NotThere` where a store has read further than the bus reaches."""
        beyond = [
            f"{named(at)}: stored up to {offset}, ends at {self.ends[at]}"
            for at, offset in sorted(stored.items())
            if at in self.ends and offset > self.ends[at]
        ]
        if beyond:
            raise NotThere(
                "the store has read further than this bus reaches, so it was filled from another one, or the bus lost "
                "records: " + "; ".join(beyond)
            )


def named(at: TopicPartition) -> str:
    """As `thumbwheel replay rewind --from` takes it, without the offset."""
    return f"{at.topic}/{at.partition}"


def span_of(bus: EventBus) -> Span:
    """Raises `BusUnavailable`, `BusError`."""
    with closing(bus.consumer(TOPICS_READ, group=None, start=lambda _: 0)) as consumer:
        return Span(consumer.begins(), consumer.ends())


class BoundedBus:
    """An `EventBus` whose consumers give out nothing from the `limits` on, and are at their end there."""

    def __init__(self, bus: EventBus, limits: Offsets) -> None:
        self._bus = bus
        self._limits = limits

    def append(self, records: Sequence[NewRecord]) -> None:
        """See `EventBus`."""
        self._bus.append(records)

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        """See `EventBus`."""
        return _Bounded(self._bus.consumer(topics, group=group, start=start), self._limits)

    def close(self) -> None:
        """The bus behind it stays open: it is another's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Bounded:
    def __init__(self, inner: EventConsumer, limits: Offsets) -> None:
        self._inner = inner
        self._limits = limits
        self.begins = inner.begins
        self.seek = inner.seek
        self.report = inner.report
        self.close = inner.close

    def poll(self, timeout_s: float) -> list[Record]:
        return [one for one in self._inner.poll(timeout_s) if one.offset < self._limit(one.topic, one.partition)]

    def ends(self) -> Offsets:
        return self._within(self._inner.ends())

    def positions(self) -> Offsets:
        return self._within(self._inner.positions())

    def _within(self, offsets: Offsets) -> Offsets:
        return {at: min(offset, self._limit(*at)) for at, offset in offsets.items()}

    def _limit(self, topic: str, partition: int) -> int:
        return self._limits.get(TopicPartition(topic, partition), 0)
