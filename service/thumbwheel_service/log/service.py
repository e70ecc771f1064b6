"""The embedded bus: appending for the learner, and reading with a long poll."""

import time
from collections.abc import Sequence

from sqlmodel import Session

from thumbwheel import internal
from thumbwheel.bus import NewRecord, TopicPartition
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import BadInput
from thumbwheel_service.log import repository
from thumbwheel_service.log.append import append_records
from thumbwheel_service.log.signal import LogSignal

_LOOK_AGAIN_SECONDS = 0.5
"""How soon a commit of another replica is found; our own wake readers at once."""
_MAX_KEY = 512


class BadRecord(BadInput):
    """A record that the log cannot hold."""

    code = "invalid_record"


class LogService:
    """Appends records durably and reads them in order."""

    def __init__(self, writer: Writer, reader: Reader, signal: LogSignal) -> None:
        self._writer = writer
        self._reader = reader
        self._signal = signal
        self._stopping = False

    async def append(self, entries: Sequence[internal.LogEntry]) -> int:
        """Append in one transaction; returns how many were new. Raises `BadRecord`, `UnknownTopic`."""
        for i, entry in enumerate(entries):
            for name, text in (("key", entry.key), ("event_id", entry.event_id)):
                if not 1 <= len(text) <= _MAX_KEY or "\0" in text:
                    raise BadRecord(f"{name} has 1 to {_MAX_KEY} characters and no NUL", field=f"records[{i}].{name}")
        records = [NewRecord(entry.topic, entry.key, entry.event_id, entry.value) for entry in entries]
        return await self._writer.run(lambda session: append_records(session, records))

    async def read(
        self, positions: Sequence[internal.LogPosition], *, limit: int, wait_ms: int
    ) -> list[internal.LogPage]:
        """One page per position, once any has a record, else after `wait_ms`; raises `Pruned`, `UnknownPartition`."""
        for position in positions:
            repository.check_partition(position.topic, position.partition)
        size = max(1, repository.PAGE_BYTES // max(1, len(positions)))
        deadline = time.monotonic() + wait_ms / 1000

        def query(session: Session) -> list[internal.LogPage]:
            return [repository.read(session, p.topic, p.partition, p.offset, limit, size) for p in positions]

        with self._signal.watch(TopicPartition(p.topic, p.partition) for p in positions) as watch:
            while True:
                pages = await self._reader.run(query)
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping or any(page.rows for page in pages):
                    return pages
                await watch.wait(min(left, _LOOK_AGAIN_SECONDS))

    def stop(self) -> None:
        """Let nobody wait any more: the service is going down."""
        self._stopping = True
        self._signal.wake_all()

    async def spans(self, topic: str) -> list[internal.LogSpan]:
        """Where every partition of `topic` begins, as far as it is still there, and ends; raises `UnknownPartition`."""
        return await self._reader.run(lambda session: repository.spans(session, topic))

    async def starts(self, topic: str) -> list[internal.LogPosition]:
        """The beginning of every partition of `topic`, as far as it is still there."""
        return [internal.LogPosition(topic, p, span.first) for p, span in enumerate(await self.spans(topic))]
