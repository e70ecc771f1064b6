"""Health, readiness and one look at both halves."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import Struct
from sqlalchemy import delete, func, insert, select
from sqlmodel import Session, SQLModel

import thumbwheel
from thumbwheel.events import new_id
from thumbwheel.types import LogStatus, ServiceStatus
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import RouteRow
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.engine.protocol import BASE, PolicyEngine
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.status.learner import LearnerView
from thumbwheel_service.status.letters import DeadLetterView

_tables = SQLModel.metadata.tables
_PROOF_SECONDS = 3.0
"""A database that takes longer to write a row is not fit for chats."""
_PROOF_KEPT_SECONDS = 1.0


class Health(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether chats and feedback would be accepted now, and what is missing if not."""

    ready: bool
    database: str
    engine: str


class _Figures(NamedTuple):
    turns: int
    feedback: int
    live_policy: str
    epoch: int


class StatusService:
    """Looks at the parts and says how they are."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        engine: PolicyEngine,
        learner: LearnerView,
        letters: DeadLetterView,
        *,
        alias: str,
        bus: Literal["embedded", "kafka"],
        chats_in_flight: Callable[[], int],
        log: Callable[[], LogStatus | None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._engine = engine
        self._learner = learner
        self._letters = letters
        self._alias = alias
        self._bus: Literal["embedded", "kafka"] = bus
        self._chats_in_flight = chats_in_flight
        self._log = log
        self._started = time.monotonic()
        self._proven = asyncio.Lock()
        self._proof = ""
        self._proven_at = float("-inf")

    async def status(self) -> ServiceStatus:
        """The service's figures and the learner's last report."""
        figures = await self._reader.run(_figures)
        ready = self._engine.health().state == "ready"
        return ServiceStatus(
            version=thumbwheel.__version__,
            model=self._engine.info.model if ready else "",
            alias=self._alias,
            live_policy=figures.live_policy,
            epoch=figures.epoch,
            uptime_s=time.monotonic() - self._started,
            chats_in_flight=self._chats_in_flight(),
            turns=figures.turns,
            feedback=figures.feedback,
            bus=self._bus,
            learner=self._learner.last(),
            dead_letters=self._letters.open(),
            log=self._log(),
        )

    async def readiness(self) -> Readiness:
        """Whether the database takes writes and the engine answers."""
        database = await self._database()
        health = self._engine.health()
        engine = health.state if not health.detail else f"{health.state}: {health.detail}"
        return Readiness(ready=database == "ready" and health.state == "ready", database=database, engine=engine)

    async def _database(self) -> str:
        """`ready`, or why nothing could be stored now: a full disk can still be read, so a row is really written.

        Found out at most once a second, whoever asks how often.
        """
        async with self._proven:
            if time.monotonic() - self._proven_at >= _PROOF_KEPT_SECONDS:
                self._proof = await self._prove()
                self._proven_at = time.monotonic()
            return self._proof

    async def _prove(self) -> str:
        try:
            async with asyncio.timeout(_PROOF_SECONDS):
                await self._writer.run(_write_and_remove)
        except TimeoutError:
            return f"the database has not stored a row within {_PROOF_SECONDS:.0f} s"
        except ServiceError as error:
            return error.detail
        return "ready"


def _write_and_remove(session: Session) -> None:
    table = _tables["unstored"]
    row = {"completion_id": new_id("proof"), "tenant": "", "created_ms": 0}
    session.execute(insert(table), row)
    session.execute(delete(table).where(table.c.completion_id == row["completion_id"]))


def _figures(session: Session) -> _Figures:
    def count(table: str) -> int:
        return int(session.execute(select(func.count()).select_from(_tables[table])).scalar_one())

    route = session.get(RouteRow, 1)
    live, epoch = (route.version, route.epoch) if route else (BASE, 0)
    return _Figures(count("completion"), count("feedback"), live, epoch)
