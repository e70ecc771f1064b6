"""One writer with group commit: many callers share one fsync, and a bad unit fails its own caller alone."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Engine

from thumbwheel import failpoint
from thumbwheel_service.db.group import Batch, BatchBroke, Culprit, Failed, Job, Outcome, alone, answer, run_each
from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.db.patience import PATIENCE_SECONDS
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.trouble import reason_of
from thumbwheel_service.errors import TooMany, Unavailable

T = TypeVar("T")
Item = TypeVar("Item")
Notes = Mapping[str, Any]
"""What the units of a group left in `session.info`, e.g. which partitions of the log grew."""
_log = logging.getLogger(__name__)
_GATHER_SECONDS = 0.02
"""A group waits at most that long for more units."""
_CULPRITS = 8
"""So many units of one group may fail on the database's side before the whole group is refused."""


class WriterClosed(Unavailable):
    """The service is stopping."""


class NotWritten(Unavailable):
    """The database did not confirm the write: it is full, gone, or locked by somebody else.

    Nothing was acknowledged. Only where the connection broke during the commit itself may it still have been stored.
    """


class Writer:
    """Runs units of work in one thread, in order; each unit in its own savepoint, all that wait in one transaction.

    A unit is a function of a `Session`. `await run(unit)` returns its result once it is committed and on disk. What
    the unit raises reaches its own caller alone; when the database itself fails, nobody of the group is told yes.
    A unit may be run again when another unit of its group broke the transaction, so it must have no effects beside
    its session. It neither commits nor rolls back.
    """

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        *,
        capacity: int = 4096,
        group: int = 256,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._patience = patience
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._capacity = capacity
        self._group = group
        self._closed = False
        self._gate = threading.Lock()
        self._after_commit: list[Callable[[Notes], None]] = []
        self._observe: Callable[[int, float], None] = _ignore
        self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Units that wait."""
        return self._jobs.qsize()

    def on_commit(self, callback: Callable[[Notes], None]) -> None:
        """Call `callback(notes)` from the writer thread after every commit (e.g. to wake readers of the log)."""
        self._after_commit.append(callback)

    def observe(self, callback: Callable[[int, float], None]) -> None:
        """Call `callback(units, seconds)` from the writer thread for every committed group."""
        self._observe = callback

    async def run(self, unit: Callable[[Session], T]) -> T:
        """Run `unit` durably; raises what it raises, `TooMany` when too many wait, `Unavailable` if nothing is stored.

        A cancelled caller leaves the unit running: whether it was stored is then unknown to it, as after any lost
        connection. A unit that waited longer than the writer's patience is not begun any more.
        """
        return await self._put(unit, None, None)

    async def run_among(self, batch: Callable[[Session, Sequence[Item]], Sequence[T | Failed]], item: Item) -> T:
        """Do `item` together with all others of the same `batch` that wait; raises as `run` does, and its own error.

        Where the batch as a whole raises, each item is done alone, so that a bad one fails its own caller alone.
        """
        return await self._put(alone(batch, item), batch, item)

    async def _put(self, unit: Callable[[Session], Any], batch: Batch | None, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._gate:
            if self._closed:
                raise WriterClosed("the service is stopping; try again")
            if self._jobs.qsize() >= self._capacity:
                raise TooMany("too many writes are waiting")
            self._jobs.put(Job(unit, batch, item, time.monotonic() + self._patience, loop, future))
        timer = loop.call_later(self._patience, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Finish what is queued, then stop the thread; safe to call twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._gather(first)
            outcomes = self._write(jobs)
            failpoint.reach("writer.committed")
            answer(outcomes)
            if last:
                return

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
        """Everything that waits, up to the size of a group, and whether the writer was told to stop after it."""
        self._let_others_in(first.loop)
        jobs = [first]
        while len(jobs) < self._group:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _let_others_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait while every turn of the event loop brings more units: requests that came together share one commit.

        A group costs as much as some ten units, and what the loop has read already is queued a moment later. A loop
        that is slow, or closed, is not waited for.
        """
        until = time.monotonic() + _GATHER_SECONDS
        before = -1
        while before < self._jobs.qsize() < self._group and (left := until - time.monotonic()) > 0:
            before = self._jobs.qsize()
            turned = threading.Event()
            try:
                loop.call_soon_threadsafe(turned.set)
            except RuntimeError:
                return
            turned.wait(left)

    def _write(self, jobs: list[Job]) -> list[Outcome]:
        """Commit a group; units that break the transaction are taken out and the others run again without them."""
        now = time.monotonic()
        refused = [_late(job) for job in jobs if job.deadline <= now]
        jobs = [job for job in jobs if job.deadline > now]
        culprits = 0
        while jobs:
            try:
                return refused + self._commit(jobs)
            except BatchBroke:
                jobs = [job._replace(batch=None) for job in jobs]
                continue
            except Culprit as culprit:
                culprits += 1
                error: Exception = culprit.error
                is_over = culprits == _CULPRITS or getattr(error, "connection_invalidated", False)
                out = jobs if is_over else [culprit.job]
            except Exception as failure:
                error, out = failure, jobs
            refused += _refuse(out, error)
            jobs = [] if out is jobs else [job for job in jobs if job not in out]
        return refused

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        started = time.perf_counter()
        with (
            self._engine.connect().execution_options(writes=True) as connection,
            Session(connection, self._keyring) as session,
        ):
            with session.begin():
                session.connection()
                outcomes: list[Outcome] = []
                for batch, together in groupby(jobs, key=lambda job: job.batch):
                    outcomes += run_each(session, batch, list(together))
            notes = dict(session.info)
        self._tell(len(jobs), time.perf_counter() - started, notes)
        return outcomes

    def _tell(self, units: int, seconds: float, notes: Notes) -> None:
        try:
            self._observe(units, seconds)
            for callback in self._after_commit:
                callback(notes)
        except Exception:
            _log.exception("a listener of the writer failed; the write itself is done")


def _refuse(jobs: list[Job], error: Exception) -> list[Outcome]:
    _log.error("%d writes were refused: %s", len(jobs), error)
    outcomes: list[Outcome] = []
    for job in jobs:
        reason = NotWritten(f"the database did not accept the write ({reason_of(error)}); try again")
        reason.__cause__ = error
        outcomes.append(Outcome(job, None, reason))
    return outcomes


def _give_up(future: asyncio.Future[Any]) -> None:
    """Its caller hears no, whatever the writer's thread hangs in."""
    if not future.done():
        future.set_exception(NotWritten("the database has not confirmed the write in time; try again"))


def _late(job: Job) -> Outcome:
    """Its caller has been told no already."""
    return Outcome(job, None, NotWritten("the database was busy for too long; try again"))


def _ignore(_units: int, _seconds: float) -> None:
    return
