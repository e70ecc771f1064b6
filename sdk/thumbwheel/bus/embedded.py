"""The bus without a broker: the service's own log table, over its internal HTTP endpoints."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

import httpx
import msgspec

from thumbwheel.bus.protocol import (
    BusError,
    BusUnavailable,
    EventConsumer,
    NewRecord,
    OffsetOutOfRange,
    Record,
    TopicPartition,
)
from thumbwheel.connection import LIMITS
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import TOPICS
from thumbwheel.internal import (
    MSGPACK,
    LogAppend,
    LogAppended,
    LogEntry,
    LogPages,
    LogPosition,
    LogRead,
)
from thumbwheel.retry import error_of

T = TypeVar("T")
_MAX_RECORDS = 1024
_MAX_BYTES = 4 << 20
_MAX_WAIT_MS = 10_000
_PAGE = 500
_ANSWER_S = 10.0


class EmbeddedBus:
    """Appends to and reads from the service's log; needs the admin key. Safe to share between threads."""

    def __init__(self, base_url: str, api_key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            limits=LIMITS,
            transport=transport,
            trust_env=False,
            headers={"authorization": f"Bearer {api_key}", "content-type": MSGPACK, "accept": MSGPACK},
        )

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append durably; what is already there by its event id is skipped, so a repeat is harmless."""
        for batch in _batches(records):
            self._post("/internal/log", LogAppend(batch), LogAppended)

    def consumer(
        self, topics: Sequence[str], *, group: str | None, start: Callable[[TopicPartition], int]
    ) -> EventConsumer:
        """A consumer of all partitions: the embedded bus has one reader per group, so nothing is shared out."""
        del group
        positions: dict[TopicPartition, int] = {}
        for name in topics:
            if name not in TOPICS:
                raise ConfigurationError(f"unknown topic {name!r}; known: {', '.join(sorted(TOPICS))}")
            for partition in range(TOPICS[name].partitions):
                at = TopicPartition(name, partition)
                positions[at] = start(at)
        return EmbeddedConsumer(self.read, positions)

    def read(self, positions: Mapping[TopicPartition, int], wait_ms: int, limit: int = _PAGE) -> list[Record]:
        """Records from these offsets on, waiting up to `wait_ms` for the first; raises as `poll` does."""
        asked = LogRead(
            positions=[LogPosition(at.topic, at.partition, offset) for at, offset in positions.items()],
            limit=limit,
            wait_ms=wait_ms,
        )
        answer = self._post("/internal/log/read", asked, LogPages, patience_s=wait_ms / 1000 + _ANSWER_S)
        records: list[Record] = []
        for (at, offset), page in zip(positions.items(), answer.pages, strict=True):
            if not page.first <= offset <= page.next:
                raise OffsetOutOfRange(f"{at.topic}/{at.partition}: {offset} is not in [{page.first}, {page.next}]")
            records += [Record(at.topic, at.partition, row.offset, row.key, row.value) for row in page.rows]
        return records

    def _post(self, path: str, body: object, kind: type[T], *, patience_s: float = _ANSWER_S) -> T:
        """One POST; sent once more when the connection broke, as everything here may be repeated."""
        content = msgspec.msgpack.encode(body)
        timeout = httpx.Timeout(patience_s, connect=2.0)
        if self._http.is_closed:
            raise BusUnavailable("this bus has been closed")
        last = ""
        for _ in range(2):
            try:
                response = self._http.post(self._base_url + path, content=content, timeout=timeout)
            except (httpx.ConnectError, httpx.TimeoutException) as error:
                raise BusUnavailable(f"{self._base_url} does not answer: {error or type(error).__name__}") from error
            except httpx.TransportError as error:
                last = str(error) or type(error).__name__
                continue
            return self._read_answer(response, kind)
        raise BusUnavailable(f"the connection to {self._base_url} broke: {last}")

    def _read_answer(self, response: httpx.Response, kind: type[T]) -> T:
        if response.is_success:
            try:
                return msgspec.msgpack.decode(response.content, type=kind)
            except msgspec.MsgspecError as error:
                raise BusError(f"{self._base_url} did not answer with {kind.__name__}: {error}") from error
        refusal = error_of(response.status_code, response.content, response.headers)
        if response.status_code == 410:
            raise OffsetOutOfRange(str(refusal)) from refusal
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise BusUnavailable(f"{self._base_url}: {refusal}") from refusal
        raise BusError(f"{self._base_url} refuses: {refusal}") from refusal

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Read(Protocol):
    """`EmbeddedBus.read`."""

    def __call__(self, positions: Mapping[TopicPartition, int], wait_ms: int, limit: int = _PAGE) -> list[Record]: ...


class EmbeddedConsumer:
    """Positions in the partitions of some topics; one thread at a time."""

    def __init__(self, read: _Read, positions: dict[TopicPartition, int]) -> None:
        self._read = read
        self._positions = positions
        self._closed = False

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records of all partitions; see `EventConsumer`."""
        if self._closed:
            raise BusUnavailable("this consumer has been closed")
        deadline = time.monotonic() + max(0.0, timeout_s)
        while True:
            left_ms = max(0, int((deadline - time.monotonic()) * 1000))
            records = self._read(self._positions, min(left_ms, _MAX_WAIT_MS))
            if records or time.monotonic() >= deadline:
                break
        for record in records:
            self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        return records

    def caught_up(self) -> bool:
        """Whether there is nothing more to read; see `EventConsumer`."""
        return not self._read(self._positions, 0, limit=1)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` next."""
        if partition not in self._positions:
            raise ConfigurationError(f"{partition.topic}/{partition.partition} is not assigned to this consumer")
        self._positions[partition] = offset

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Nothing to tell: the service sees what its log's only reader has asked for."""

    def close(self) -> None:
        """Ask no more."""
        self._closed = True


def _batches(records: Sequence[NewRecord]) -> list[list[LogEntry]]:
    """Split so that one request stays below the service's limits in count and size."""
    batches: list[list[LogEntry]] = []
    size = 0
    for record in records:
        weight = len(record.value) + len(record.key) + len(record.event_id)
        if not batches or len(batches[-1]) == _MAX_RECORDS or size + weight > _MAX_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(LogEntry(record.topic, record.key, record.event_id, record.value))
        size += weight
    return batches
