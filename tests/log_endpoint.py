"""The service's internal log endpoints as an in-process HTTP transport: what `thumbwheel.internal` says, in memory."""

import threading
import time
from collections import defaultdict

import httpx
import msgspec

from thumbwheel.bus import partition_of
from thumbwheel.events import TOPICS
from thumbwheel.internal import MSGPACK, LogAppend, LogAppended, LogPage, LogPages, LogRead, LogRow, LogSpan, LogSpans


class LogTransport(httpx.BaseTransport):
    """A log that many clients share; `down` makes every request fail to connect."""

    def __init__(self, *, key: str = "admin-key") -> None:
        self._key = key
        self._changed = threading.Condition()
        self._rows: dict[tuple[str, int], list[LogRow]] = defaultdict(list)
        self._first: dict[tuple[str, int], int] = defaultdict(int)
        self._ids: set[str] = set()
        self.down = False

    def trim(self, topic: str, partition: int, before: int) -> None:
        with self._changed:
            self._first[topic, partition] = before

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        if request.headers.get("authorization") != f"Bearer {self._key}":
            return problem(401, "Unauthorized", "no valid key")
        match request.method, request.url.path:
            case "POST", "/internal/log":
                return self._append(msgspec.msgpack.decode(request.read(), type=LogAppend))
            case "POST", "/internal/log/read":
                return self._read(msgspec.msgpack.decode(request.read(), type=LogRead))
            case "GET", path if (topic := path.removeprefix("/internal/log/")) in TOPICS:
                return self._describe(topic)
            case _:
                return problem(404, "Not found", "no such route")

    def _append(self, body: LogAppend) -> httpx.Response:
        with self._changed:
            fresh = 0
            for record in body.records:
                if record.event_id in self._ids:
                    continue
                self._ids.add(record.event_id)
                at = record.topic, partition_of(record.key, TOPICS[record.topic].partitions)
                self._rows[at].append(LogRow(len(self._rows[at]), record.key, record.value))
                fresh += 1
            self._changed.notify_all()
        return packed(LogAppended(fresh))

    def _describe(self, topic: str) -> httpx.Response:
        with self._changed:
            at = [(topic, partition) for partition in range(TOPICS[topic].partitions)]
            return packed(LogSpans([LogSpan(self._first[p], len(self._rows[p])) for p in at]))

    def _read(self, body: LogRead) -> httpx.Response:
        deadline = time.monotonic() + body.wait_ms / 1000
        with self._changed:
            while True:
                pages: list[LogPage] = []
                for position in body.positions:
                    rows = self._rows[position.topic, position.partition]
                    first = self._first[position.topic, position.partition]
                    if not first <= position.offset <= len(rows):
                        return problem(410, "Gone", f"{position.offset} is not in [{first}, {len(rows)}]")
                    pages.append(LogPage(rows[position.offset : position.offset + body.limit], first, len(rows)))
                left = deadline - time.monotonic()
                if left <= 0 or any(page.rows for page in pages):
                    return packed(LogPages(pages))
                self._changed.wait(left)


def packed(body: object) -> httpx.Response:
    return httpx.Response(200, content=msgspec.msgpack.encode(body), headers={"content-type": MSGPACK})


def problem(status: int, title: str, detail: str) -> httpx.Response:
    return httpx.Response(status, json={"title": title, "status": status, "detail": detail})
