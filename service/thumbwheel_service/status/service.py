"""Health, readiness and one look at both halves."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import Struct
from sqlalchemy import func, select
from sqlmodel import Session, SQLModel

import thumbwheel
from thumbwheel.types import ServiceStatus
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import RouteRow
from thumbwheel_service.engine.protocol import BASE, PolicyEngine
from thumbwheel_service.errors import Unavailable
from thumbwheel_service.status.learner import LearnerView

_tables = SQLModel.metadata.tables


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
        reader: Reader,
        engine: PolicyEngine,
        learner: LearnerView,
        *,
        alias: str,
        bus: Literal["embedded", "kafka"],
        chats_in_flight: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._engine = engine
        self._learner = learner
        self._alias = alias
        self._bus: Literal["embedded", "kafka"] = bus
        self._chats_in_flight = chats_in_flight
        self._started = time.monotonic()

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
        )

    async def readiness(self) -> Readiness:
        """Whether database and engine answer."""
        try:
            await self._reader.run(lambda session: session.execute(select(1)).one())
        except Unavailable as error:
            database = error.detail
        else:
            database = "ready"
        health = self._engine.health()
        engine = health.state if not health.detail else f"{health.state}: {health.detail}"
        return Readiness(ready=database == "ready" and health.state == "ready", database=database, engine=engine)


def _figures(session: Session) -> _Figures:
    def count(table: str) -> int:
        return int(session.execute(select(func.count()).select_from(_tables[table])).scalar_one())

    route = session.get(RouteRow, 1)
    live, epoch = (route.version, route.epoch) if route else (BASE, 0)
    return _Figures(count("completion"), count("feedback"), live, epoch)
