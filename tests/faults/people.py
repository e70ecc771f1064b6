"""People who chat and give feedback without end, and ask again until they are told yes."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.faults.ledger import Ledger

from thumbwheel import ApiError, AsyncClient, ConnectionFailed, ThumbwheelError
from thumbwheel.errors import StreamBroken
from thumbwheel.types import Correction, Feedback, FeedbackRecord, Flag, Rating, Thumb

T = TypeVar("T")
PAUSE_S = 0.05
PASSES_BY = frozenset({408, 409, 429})


class GivenUp(Exception):
    """An error that no crash explains; it is in the ledger."""


class Person:
    """One user; every third sends everything twice."""

    def __init__(self, client: AsyncClient, ledger: Ledger, number: int, seed: int) -> None:
        self._client = client
        self._ledger = ledger
        self._draw = random.Random(f"{seed}/{number}")
        self._twice = number % 3 == 0
        self._name = f"user-{number}"

    async def live(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._converse()
            except GivenUp:
                continue
            await asyncio.sleep(PAUSE_S * self._draw.random())

    async def _converse(self) -> None:
        completion = await self._insist(self._chat)
        self._ledger.chats += 1
        chance = self._draw.random()
        thumb = Thumb(completion_id=completion, value="up" if self._draw.random() < 0.5 else "down", user=self._name)
        first = await self._give(thumb)
        if chance < 0.2:
            await self._give(
                Thumb(completion_id=completion, value="down" if thumb.value == "up" else "up", user=self._name)
            )
        elif chance < 0.3:
            self._ledger.write(await self._insist(lambda: self._client.feedback.retract(first.feedback_id)))
        elif chance < 0.4:
            await self._give(Correction(completion_id=completion, text=f"Better {uuid.uuid4()}", user=self._name))
        elif chance < 0.5:
            await self._give(Rating(completion_id=completion, value=self._draw.randint(1, 5), user=self._name))
        elif chance < 0.6:
            await self._give(Flag(completion_id=completion, value="other", comment="odd", user=self._name))

    async def _chat(self) -> str:
        prompt = f"{self._name} asks {self._draw.random()}"
        if self._draw.random() < 0.7:
            return (await self._client.chat(prompt, user=self._name)).completion_id
        async with await self._client.chat(prompt, user=self._name, stream=True) as stream:
            async for _ in stream:
                pass
            return str(stream.completion_id)

    async def _give(self, feedback: Feedback) -> FeedbackRecord:
        key = str(uuid.uuid4())
        record = await self._insist(lambda: self._client.feedback.give(feedback, idempotency_key=key))
        if self._twice:
            again = await self._insist(lambda: self._client.feedback.give(feedback, idempotency_key=key))
            if again != record:
                self._ledger.differing.append(f"{record} then {again}")
        self._ledger.write(record)
        return record

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Until it is acknowledged; raises `GivenUp` for what no crash explains."""
        while True:
            try:
                return await call()
            except (ConnectionFailed, StreamBroken):
                pass
            except ApiError as error:
                if error.status < 500 and error.status not in PASSES_BY:
                    self._ledger.refused.append(f"{self._name}: {error}")
                    raise GivenUp from error
            except ThumbwheelError as error:
                self._ledger.refused.append(f"{self._name}: {error!r}")
                raise GivenUp from error
            self._ledger.retries += 1
            await asyncio.sleep(0.1 + 0.2 * self._draw.random())
