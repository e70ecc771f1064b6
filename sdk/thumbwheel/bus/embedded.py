"""The bus without a broker: the service's own log table, over its internal HTTP endpoints."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

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
    LogSpans,
)
from thumbwheel.retry import error_of

T = TypeVar("T")
_MAX_RECORDS = 1024
_MAX_BYTES = 4 << 20
_MAX_WAIT_MS = 10_000
_ANSWER_S = 10.0


class Fetched(NamedTuple):
    """What one read brought, and where the next one goes on."""

    records: list[Record]
    positions: dict[TopicPartition, int]


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
        return EmbeddedConsumer(self, positions)

    def read(self, positions: Mapping[TopicPartition, int], wait_ms: int) -> Fetched:
        """Records from these offsets on, waiting up to `wait_ms` for the first; raises as `poll` does."""
        asked = LogRead(
            positions=[LogPosition(at.topic, at.partition, offset) for at, offset in positions.items()],
            wait_ms=wait_ms,
        )
        answer = self._post("/internal/log/read", asked, LogPages, patience_s=wait_ms / 1000 + _ANSWER_S)
        fetched = Fetched([], {})
        for (at, offset), page in zip(positions.items(), answer.pages, strict=True):
            if not page.first <= offset <= page.next:
                raise OffsetOutOfRange(f"{at.topic}/{at.partition}: {offset} is not in [{page.first}, {page.next}]")
            fetched.records.extend(Record(at.topic, at.partition, row.offset, row.key, row.value) for row in page.rows)
            fetched.positions[at] = page.rows[-1].offset + 1 if page.rows else page.next
        return fetched

    def spans(self, topic: str) -> dict[TopicPartition, tuple[int, int]]:
        """First and next offset of every partition of `topic`; raises `BusUnavailable`, `BusError`."""
        answer = self._send("GET", f"/internal/log/{topic}", b"", LogSpans, patience_s=_ANSWER_S)
        return {TopicPartition(topic, number): (span.first, span.next) for number, span in enumerate(answer.partitions)}

    def _post(self, path: str, body: object, kind: type[T], *, patience_s: float = _ANSWER_S) -> T:
        return self._send("POST", path, msgspec.msgpack.encode(body), kind, patience_s=patience_s)

    def _send(self, method: str, path: str, content: bytes, kind: type[T], *, patience_s: float) -> T:
        """One request; sent once more when the connection broke, as everything here may be repeated."""
        timeout = httpx.Timeout(patience_s, connect=2.0)
        if self._http.is_closed:
            raise BusUnavailable("this bus has been closed")
        last = ""
        for _ in range(2):
            try:
                response = self._http.request(method, self._base_url + path, content=content, timeout=timeout)
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


class EmbeddedConsumer:
    """Positions in the partitions of some topics; one thread at a time."""

    def __init__(self, bus: EmbeddedBus, positions: dict[TopicPartition, int]) -> None:
        self._bus = bus
        self._positions = positions
        self._closed = False

    def poll(self, timeout_s: float) -> list[Record]:
        """The next records of all partitions; see `EventConsumer`."""
        self._check_open()
        deadline = time.monotonic() + max(0.0, timeout_s)
        while True:
            left_ms = max(0, int((deadline - time.monotonic()) * 1000))
            fetched = self._bus.read(self._positions, min(left_ms, _MAX_WAIT_MS))
            self._positions.update(fetched.positions)
            if fetched.records or time.monotonic() >= deadline:
                return fetched.records

    def _check_open(self) -> None:
        if self._closed:
            raise BusUnavailable("this consumer has been closed")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset` next."""
        if partition not in self._positions:
            raise ConfigurationError(f"{partition.topic}/{partition.partition} is not assigned to this consumer")
        self._positions[partition] = offset

    def begins(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        return {at: first for at, (first, _) in self._spans().items()}

    def ends(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        return {at: following for at, (_, following) in self._spans().items()}

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `EventConsumer`."""
        return dict(self._positions)

    def _spans(self) -> dict[TopicPartition, tuple[int, int]]:
        self._check_open()
        topics = dict.fromkeys(at.topic for at in self._positions)
        return {at: span for topic in topics for at, span in self._bus.spans(topic).items()}

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Nothing to tell here: the learner's own reports on the bus say how far it has stored."""

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
