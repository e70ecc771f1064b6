"""How many rollouts may be in the engine at once, so that chats stay quick."""

import asyncio
from collections import deque


class RolloutGate:
    """Bounds the rollouts in the engine: many while nobody chats, few beside chats, so that chats stay quick."""

    def __init__(self, *, alone: int, beside_chats: int) -> None:
        self._alone = alone
        self._beside = beside_chats
        self._running = 0
        self._chats = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def chat_started(self) -> None:
        """A chat is under way."""
        self._chats += 1

    def chat_ended(self) -> None:
        """A chat is over."""
        self._chats -= 1
        self._admit()

    async def __aenter__(self) -> None:
        """Wait for a place."""
        if self._running < self._limit() and not self._waiting:
            self._running += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give the place back."""
        self._leave()

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _limit(self) -> int:
        return self._beside if self._chats else self._alone

    def _admit(self) -> None:
        while self._waiting and self._running < self._limit():
            place = self._waiting.popleft()
            if not place.done():
                self._running += 1
                place.set_result(None)
