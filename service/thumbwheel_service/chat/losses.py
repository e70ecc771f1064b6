"""Chats whose rows could not be written whole: they are lost, and said to be, as soon as the database takes it."""

import asyncio
import logging

from thumbwheel_service.chat import repository
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.owner import Owner

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0
_CAPACITY = 4096
"""Beyond that many, the next start of this replica finds the rest (`lose_earlier`)."""


async def lose_earlier(writer: Writer, owner: Owner) -> int:
    """At start: chats that earlier lives of this replica left open are lost; their feedback becomes events.

    Returns how many chats.
    """
    return await writer.run(lambda session: repository.lose(session, repository.left_by_earlier_lives(owner)))


class Losses:
    """Marks completions as lost that would stay open for ever; their feedback is told, and waits for no turn."""

    def __init__(self, writer: Writer, *, pause: float = _PAUSE_SECONDS) -> None:
        self._writer = writer
        self._pause = pause
        self._ids: set[str] = set()
        self._marking: asyncio.Task[None] | None = None

    def add(self, completion_id: str) -> None:
        """This completion will not be closed by its own turn: it may be open, or not there at all."""
        if len(self._ids) < _CAPACITY:
            self._ids.add(completion_id)
        if self._marking is None or self._marking.done():
            self._marking = asyncio.get_running_loop().create_task(self._mark())

    async def close(self) -> None:
        """Leave what is still open to the next start."""
        if self._marking is not None:
            self._marking.cancel()
            await asyncio.wait([self._marking])

    async def _mark(self) -> None:
        while self._ids:
            await asyncio.sleep(self._pause)
            ids = sorted(self._ids)
            which = repository.with_ids(ids)
            try:
                lost = await self._writer.run(lambda session, which=which: repository.lose(session, which))
            except ServiceError:
                continue
            except Exception:
                _log.exception("%d turns stay open until the next start", len(ids))
                self._ids.difference_update(ids)
                continue
            self._ids.difference_update(ids)
            if lost:
                _log.warning("%d turns are marked as lost", lost)
