"""Writes chats down: identities while the prompt is being read, whole turns behind the answer's back."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from thumbwheel.events import TurnCompleted
from thumbwheel_service.chat import repository
from thumbwheel_service.chat.losses import Losses
from thumbwheel_service.db.tables import CompletionRow
from thumbwheel_service.db.writer import NotWritten, Writer, WriterClosed
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.redaction.cleared import Cleared
from thumbwheel_service.redaction.redactor import Beside, Redactor

_log = logging.getLogger(__name__)
_RETRY_SECONDS = (0.05, 0.2, 1.0, 5.0, 10.0, 15.0, 30.0)
"""A database that is away for a minute costs no turn."""
_CAPACITY = 1024
"""So many turns wait for a database that takes identities and refuses turns; more are lost at once."""


class TurnRecorder:
    """Owns the background writes; `drain` waits for them."""

    def __init__(
        self,
        writer: Writer,
        metrics: Metrics,
        redactor: Redactor,
        *,
        owner: str,
        retries: Sequence[float] = _RETRY_SECONDS,
        losses: Losses | None = None,
    ) -> None:
        self.owner = owner
        self._retries = retries
        self._losses = losses or Losses(writer)
        self._writer = writer
        self._metrics = metrics
        self._redactor = redactor
        self._pending: set[asyncio.Task[Any]] = set()

    def open(self, row: CompletionRow) -> asyncio.Task[None]:
        """Start writing the identity; the first byte waits for this task."""
        return self._spawn(self._identify(row))

    def open_unstored(self, completion_id: str, tenant: str) -> asyncio.Task[None]:
        """The same for a chat of which nothing is kept."""
        return self._spawn(self._writer.run(lambda session: repository.insert_unstored(session, completion_id, tenant)))

    def close(self, tenant: str, turn: TurnCompleted, beside: Beside) -> asyncio.Task[None]:
        """Start writing the whole turn, redacted; nobody waits for it but `drain`."""
        self._metrics.chats.labels(turn.status).inc()
        return self._spawn(self._complete(tenant, turn, beside))

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._pending:
            await asyncio.wait(self._pending)
        await self._losses.close()

    async def _identify(self, row: CompletionRow) -> None:
        try:
            await self._writer.run(lambda session: repository.insert_identity(session, row))
        except NotWritten:
            self._losses.add(row.completion_id)
            raise

    async def _complete(self, tenant: str, turn: TurnCompleted, beside: Beside) -> None:
        try:
            if await self._is_stored(tenant, await self._redactor.turn(turn, beside)):
                return
        except Exception:
            _log.exception("turn %s cannot be stored", turn.completion_id)
        self._metrics.lost_turns.inc()
        self._losses.add(turn.completion_id)
        _log.error("turn %s could not be stored and is lost", turn.completion_id)

    async def _is_stored(self, tenant: str, turn: Cleared[TurnCompleted]) -> bool:
        """Whether the turn is settled, at once or after some patience."""
        for delay in (*self._retries, None):
            try:
                if not await self._writer.run(lambda session: repository.complete(session, tenant, turn)):
                    _log.warning("turn %s was given up before it ended, and stays lost", turn.value.completion_id)
                return True
            except WriterClosed:
                return False
            except ServiceError as error:
                if delay is None or len(self._pending) > _CAPACITY:
                    return False
                _log.warning("turn %s is not stored yet: %s", turn.value.completion_id, error)
                await asyncio.sleep(delay)
        return False

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task
