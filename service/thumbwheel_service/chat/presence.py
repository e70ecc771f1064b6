"""Which service processes live: the chats of one that died, and may never come back, are lost and their feedback told.

A published policy, too, waits for those that live, and for no others (`policies.readiness`).

A replica that starts again finds its own at once (`losses.lose_earlier`). A host with a new name never looks for them,
and feedback that waits for the end of such a chat would not reach the learner.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from sqlalchemy import delete, insert, select, text, update

from thumbwheel_service.chat import repository
from thumbwheel_service.db.clock import database_ms
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import CompletionRow, ProcessRow, table_of
from thumbwheel_service.db.writer import Writer
from thumbwheel_service.errors import ServiceError
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.owner import Owner

_log = logging.getLogger(__name__)
_process = table_of(ProcessRow)
_completion = table_of(CompletionRow)
_UNKNOWN_MS = 600_000
"""How long a process is waited for that has open chats and never said that it lives, such as an older version."""
_BEAT = text(
    "INSERT INTO process (owner, until_ms) VALUES (:owner, :until_ms) "
    "ON CONFLICT (owner) DO UPDATE SET until_ms = excluded.until_ms"
)


class Presence:
    """Says now and then that this process lives, and gives up the chats of those that have not said so for a lease.

    A process that was itself out of reach of the database does so only a whole lease later: whatever kept it quiet may
    have kept the others quiet too.
    """

    def __init__(
        self,
        writer: Writer,
        owner: Owner,
        metrics: Metrics,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._owner = owner
        self._metrics = metrics
        self._lease = lease_seconds
        self._clock = clock
        self._heard = self._steady_since = float("-inf")

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._lease / 4)

    async def beat(self) -> int:
        """Once; returns how many chats were given up. Raises `Unavailable`, `TooMany`."""
        now = self._clock()
        if now - self._heard > self._lease:
            self._steady_since = now
        sweep = now - self._steady_since >= self._lease
        first = self._heard == float("-inf")

        def unit(session: Session) -> int:
            if first:
                _supersede(session, self._owner)
            return _beat(session, self._owner, int(self._lease * 1000), sweep)

        lost = await self._writer.run(unit)
        self._heard = now
        if lost:
            self._metrics.lost_turns.inc(lost)
            _log.warning("%d chats of processes that died are marked as lost", lost)
        return lost

    async def leave(self) -> None:
        """The process ends in order: nobody need wait for it. Without the database others find out after a lease."""
        with contextlib.suppress(ServiceError):
            await self._writer.run(lambda session: _leave(session, self._owner))


def _supersede(session: Session, owner: Owner) -> None:
    """Earlier lives of this replica are over; what they left open it has found at its start."""
    session.execute(delete(_process).where(owner.replica_is_in(_process.c.owner)))


def _leave(session: Session, owner: Owner) -> None:
    session.execute(update(_process).where(owner.is_in(_process.c.owner)).values(until_ms=database_ms(session)))


def _beat(session: Session, owner: Owner, lease_ms: int, sweep: bool) -> int:
    now = database_ms(session)
    session.execute(_BEAT, {"owner": str(owner), "until_ms": now + lease_ms})
    if not sweep:
        return 0
    _wait_for_unknown(session, now)
    dead = select(_process.c.owner).where(_process.c.until_ms <= now)
    lost = repository.lose(session, _completion.c.owner.in_(dead))
    session.execute(delete(_process).where(_process.c.until_ms <= now))
    return lost


def _wait_for_unknown(session: Session, now: int) -> None:
    owners = select(_completion.c.owner).where(_completion.c.status == "open", _completion.c.owner.is_not(None))
    unknown = session.execute(owners.where(_completion.c.owner.not_in(select(_process.c.owner))).distinct()).scalars()
    rows = [{"owner": owner, "until_ms": now + _UNKNOWN_MS} for owner in unknown]
    if rows:
        session.execute(insert(_process), rows)
