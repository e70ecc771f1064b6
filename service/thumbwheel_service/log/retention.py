"""Keeps the log from growing for ever: looks at it now and then, and removes what is old and stored elsewhere."""

import asyncio
import logging
from collections.abc import Callable

from sqlmodel import Session

from thumbwheel.bus import BusError, EventBus, TopicPartition
from thumbwheel.events import now_ms
from thumbwheel.types import LogStatus
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import TooMany, Unavailable
from thumbwheel_service.log import prune
from thumbwheel_service.log.evidence import Evidence, FromKafka, FromLog, Offsets

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000
EVERY_SECONDS = 15.0
_BATCH = 50
"""Rows per transaction: a few milliseconds of the writer's time."""
_PAUSE_SECONDS = 0.1
"""Between two of them, so that chats and feedback are never behind more than one."""


class Retention:
    """One task per process. Several on one database do no harm: each finds what the others have left."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        evidence: Evidence,
        learner: Callable[[], Offsets | None],
        *,
        keep_days: float,
        relayed: bool,
    ) -> None:
        """`learner` tells what the learner has stored of the bus it reads, None while it has never said.

        `keep_days` 0 keeps everything; `relayed`: rows are kept until they are on Kafka.
        """
        self._writer = writer
        self._reader = reader
        self._evidence = evidence
        self._learner = learner
        self._keep_days = keep_days
        self._relayed = relayed
        self._observe: Callable[[LogStatus, dict[TopicPartition, int], int], None] = _ignore
        self._last: LogStatus | None = None
        self._failing = ""

    def observe(self, callback: Callable[[LogStatus, dict[TopicPartition, int], int], None]) -> None:
        """Call `callback(figures, beginning of each partition, rows removed)` after every round."""
        self._observe = callback

    def figures(self) -> LogStatus | None:
        """What the last round saw; None before the first."""
        return self._last

    async def run(self) -> None:
        """Look and prune until cancelled."""
        while True:
            try:
                await self.round()
                self._failing = ""
            except (BusError, Unavailable, TooMany) as error:
                if str(error) != self._failing:
                    _log.warning("the log is not pruned just now: %s", error)
                self._failing = str(error)
            await asyncio.sleep(EVERY_SECONDS)

    async def round(self) -> int:
        """Prune all that may go now; returns how many rows went. Raises `BusError`, `Unavailable`, `TooMany`."""
        told, behind, gone = self._learner(), None, 0
        if told is not None:
            known = await self._evidence.of(told)
            behind = known.behind
            if self._keep_days:
                for at in prune.PARTITIONS:
                    gone += await self._prune(at, known.stored.get(at, 0))
        await self._look(behind, gone)
        return gone

    async def _prune(self, at: TopicPartition, stored: int) -> int:
        before = now_ms() - int(self._keep_days * _DAY_MS)
        total, gone = 0, _BATCH
        while gone == _BATCH:
            gone = await self._writer.run(
                lambda session: prune.prune(
                    session, at, stored=stored, written_before_ms=before, relayed=self._relayed, limit=_BATCH
                )
            )
            total += gone
            await asyncio.sleep(_PAUSE_SECONDS if gone == _BATCH else 0)
        return total

    async def _look(self, behind: int | None, gone: int) -> None:
        def read(session: Session) -> tuple[LogStatus, dict[TopicPartition, int]]:
            heads = prune.heads(session)
            figures = prune.figures(session, heads, behind=behind, keep_days=self._keep_days)
            return figures, {at: head.first for at, head in heads.items()}

        self._last, firsts = await self._reader.run(read)
        self._observe(self._last, firsts, gone)


def retention_of(
    writer: Writer, reader: Reader, kafka: EventBus | None, learner: Callable[[], Offsets | None], *, keep_days: float
) -> Retention:
    """For a learner that reads `kafka`, or, without one, the log itself."""
    evidence = FromLog(reader) if kafka is None else FromKafka(reader, kafka)
    return Retention(writer, reader, evidence, learner, keep_days=keep_days, relayed=kafka is not None)


def _ignore(_figures: LogStatus, _firsts: dict[TopicPartition, int], _gone: int) -> None:
    return
