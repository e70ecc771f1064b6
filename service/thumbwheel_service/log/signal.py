"""Wakes those who wait for new records, from whichever thread wrote them."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from thumbwheel.bus import TopicPartition

APPENDED = "log.appended"
"""Key in `session.info` under which appending notes which partitions grew."""


class LogSignal:
    """Waiting for partitions to grow: commits of this process wake at once, others are found by looking again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[TopicPartition, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def committed(self, notes: Mapping[str, Any]) -> None:
        """Tell of a commit; the writer's listener."""
        self._wake(notes.get(APPENDED, ()))

    def wake_all(self) -> None:
        """End every wait."""
        self._wake(list(self._waiting))

    def _wake(self, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            wake = {waiter for at in partitions for waiter in self._waiting.get(at, ())}
        for loop, event in wake:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def watch(self, partitions: Iterable[TopicPartition]) -> "Watch":
        """Start watching; a commit between this call and `wait` is not missed."""
        return Watch(self, list(partitions))

    def register(self, watch: "Watch") -> None:
        """Called by `Watch`."""
        with self._lock:
            for at in watch.partitions:
                self._waiting.setdefault(at, set()).add(watch.waiter)

    def forget(self, watch: "Watch") -> None:
        """Called by `Watch`."""
        with self._lock:
            for at in watch.partitions:
                waiters = self._waiting.get(at, set())
                waiters.discard(watch.waiter)
                if not waiters:
                    self._waiting.pop(at, None)


class Watch:
    """One waiter on some partitions; a context manager."""

    def __init__(self, signal: LogSignal, partitions: list[TopicPartition]) -> None:
        self._signal = signal
        self._event = asyncio.Event()
        self.partitions = partitions
        self.waiter = (asyncio.get_running_loop(), self._event)

    def __enter__(self) -> "Watch":
        self._signal.register(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._signal.forget(self)

    async def wait(self, seconds: float) -> bool:
        """Whether one of the partitions grew within `seconds`; clears the signal.

        Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that arrives together with the signal.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
