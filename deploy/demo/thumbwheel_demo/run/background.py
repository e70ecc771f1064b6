"""The desk never closes: chats that go on all the time, at a steady rate, while the wheel turns."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.people import Chat, People
from thumbwheel_demo.run.tally import Tally

BATCH = 500


def live_scenarios(seed: int) -> Iterator[Scenario]:
    """Customers of the live split, one after the other, for ever; the same seed brings the same ones."""
    batch = 0
    while True:
        yield from prompts("live", BATCH, seed * 10_000 + batch)
        batch += 1


class Background:
    """Starts a chat every `1/rate` seconds as long as it is open, and lets every one that began come to its end.

    The rate may change at any time.
    """

    def __init__(self, people: People, scenarios: Iterator[Scenario], rate: float, tally: Tally) -> None:
        self._people = people
        self._scenarios = scenarios
        self.rate = rate
        self._tally = tally
        self._running: set[asyncio.Task[list[Chat]]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    async def _go_on(self) -> None:
        while True:
            task = asyncio.create_task(self._people.wave([next(self._scenarios)], self._tally.add))
            self._running.add(task)
            task.add_done_callback(self._ended)
            await asyncio.sleep(1.0 / self.rate)

    def _ended(self, task: asyncio.Task[list[Chat]]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        if (broken := task.exception()) is not None:
            self._broken = broken
        else:
            self._tally.add_feedback(task.result())

    @property
    def in_flight(self) -> int:
        """Chats that have begun and not ended."""
        return len(self._running)

    def check(self) -> None:
        """Raise what broke the load itself, if anything did (a lost chat does not)."""
        if self._broken is not None:
            raise self._broken

    async def __aenter__(self) -> Self:
        if self.rate > 0:
            self._loop = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        if error is not None:
            for task in self._running:
                task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
