"""HTTP/1.1 as bytes: little enough work per request that a client on one core can time a server on another."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

JSON = "application/json"


class Answer(NamedTuple):
    """How one request was answered."""

    status: int
    milliseconds: float
    """From the moment at which it was due, not from when it could be sent."""


class Wire:
    """One connection that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; the server must send a `content-length`."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
        return int(head[9:12]), await self._reader.readexactly(length)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


def post(path: str, body: bytes, *, key: str | None = None, request_id: str | None = None) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-type: {JSON}", f"content-length: {len(body)}"]
    lines += [f"authorization: Bearer {key}"] if key else []
    lines += [f"x-request-id: {request_id}"] if request_id else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def at_rate(
    port: int, request: Callable[[int], bytes], *, rate: float, seconds: float, connections: int = 128
) -> list[Answer]:
    """So many requests a second, whether or not earlier ones have been answered; each is timed from when it was due."""
    numbers = iter(range(int(rate * seconds)))
    answers: list[Answer] = []
    everybody = asyncio.Barrier(connections)
    begun = 0.0

    async def caller() -> None:
        nonlocal begun
        async with connected(port) as wire:
            if await everybody.wait() == 0:
                begun = time.perf_counter() + 0.05
            await everybody.wait()
            for number in numbers:
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                status, _ = await wire.exchange(request(number))
                answers.append(Answer(status, (time.perf_counter() - due) * 1000))

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(caller())
    return answers


async def by_turns(port: int, requests: list[bytes], *, at_once: int = 1) -> list[int]:
    """Each of `at_once` connections sends its next request when its last one was answered; the statuses."""
    waiting = iter(requests)
    statuses: list[int] = []

    async def caller() -> None:
        async with connected(port) as wire:
            for request in waiting:
                status, _ = await wire.exchange(request)
                statuses.append(status)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(caller())
    return statuses
