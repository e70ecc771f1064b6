"""Rollouts fill the engine while nobody chats, and make way when somebody does."""

import asyncio

from thumbwheel_service.engine.gate import RolloutGate


class Rollouts:
    """Rollouts that run until they are told to end."""

    def __init__(self, gate: RolloutGate) -> None:
        self.gate = gate
        self.running = 0
        self._ends: list[asyncio.Event] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def _one(self, end: asyncio.Event) -> None:
        async with self.gate:
            self.running += 1
            await end.wait()
            self.running -= 1

    async def start(self, count: int) -> None:
        for _ in range(count):
            end = asyncio.Event()
            self._ends.append(end)
            self._tasks.append(asyncio.get_running_loop().create_task(self._one(end)))
        await self.settle()

    async def end(self, count: int) -> None:
        for end in self._ends[:count]:
            end.set()
        self._ends = self._ends[count:]
        await self.settle()

    async def cancel_last(self) -> None:
        self._tasks[-1].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_alone_rollouts_take_all_their_places() -> None:
    rollouts = Rollouts(RolloutGate(alone=4, beside_chats=1))
    await rollouts.start(6)
    assert rollouts.running == 4
    await rollouts.end(1)
    assert rollouts.running == 4
    await rollouts.end(5)
    assert rollouts.running == 0


async def test_beside_chats_few_new_ones_begin() -> None:
    gate = RolloutGate(alone=4, beside_chats=1)
    rollouts = Rollouts(gate)
    gate.chat_started()
    await rollouts.start(4)
    assert rollouts.running == 1
    gate.chat_ended()
    await rollouts.settle()
    assert rollouts.running == 4
    gate.chat_started()
    await rollouts.start(2)
    await rollouts.end(3)
    assert rollouts.running == 1
    gate.chat_ended()
    await rollouts.settle()
    assert rollouts.running == 3
    await rollouts.end(3)


async def test_one_that_gives_up_waiting_takes_no_place() -> None:
    rollouts = Rollouts(RolloutGate(alone=1, beside_chats=1))
    await rollouts.start(2)
    await rollouts.cancel_last()
    await rollouts.end(1)
    await rollouts.start(1)
    assert rollouts.running == 1
    await rollouts.end(2)
