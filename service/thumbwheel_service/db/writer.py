"""One writer with group commit: many callers share one fsync, and a bad unit fails its own caller alone."""

import asyncio
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from thumbwheel import failpoint
from thumbwheel_service.db.keyring import Keyring
from thumbwheel_service.db.patience import PATIENCE_SECONDS, within
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.trouble import is_trouble, reason_of
from thumbwheel_service.errors import TooMany, Unavailable

T = TypeVar("T")
Item = TypeVar("Item")
Notes = Mapping[str, Any]
"""What the units of a group left in `session.info`, e.g. which partitions of the log grew."""
_log = logging.getLogger(__name__)
_CULPRITS = 8
"""So many units of one group may fail on the database's side before the whole group is refused."""


class WriterClosed(Unavailable):
    """The service is stopping."""


class NotWritten(Unavailable):
    """The database did not confirm the write: it is full, gone, or locked by somebody else.

    Nothing was acknowledged. Only where the connection broke during the commit itself may it still have been stored.
    """


class Failed(NamedTuple):
    """What became of one item of a batch that could not be done; the others are."""

    error: Exception


Batch = Callable[[Session, Sequence[Any]], Sequence[Any]]
"""Does many items of one kind in few statements, and answers each in order: with its result, or `Failed`."""


class _Job(NamedTuple):
    unit: Callable[[Session], Any]
    batch: Batch | None
    item: Any
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    job: _Job
    result: Any
    error: BaseException | None


class _Culprit(Exception):
    """The database failed under a unit: its transaction may be gone, so the others of the group start again."""

    def __init__(self, job: _Job, error: SQLAlchemyError) -> None:
        super().__init__()
        self.job = job
        self.error = error


class _BatchBroke(Exception):
    """The database failed under a batch, and nobody knows under which item: each is done alone."""


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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
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
        return await self._put(_alone(batch, item), batch, item)

    async def _put(self, unit: Callable[[Session], Any], batch: Batch | None, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        async with within(self._patience, NotWritten("the database has not confirmed the write in time; try again")):
            with self._gate:
                if self._closed:
                    raise WriterClosed("the service is stopping")
                if self._jobs.qsize() >= self._capacity:
                    raise TooMany("too many writes are waiting")
                self._jobs.put(_Job(unit, batch, item, time.monotonic() + self._patience, loop, future))
            return await asyncio.shield(future)

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
            _answer(outcomes)
            if last:
                return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """Everything that waits, up to the size of a group, and whether the writer was told to stop after it."""
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

    def _write(self, jobs: list[_Job]) -> list[_Outcome]:
        """Commit a group; units that break the transaction are taken out and the others run again without them."""
        now = time.monotonic()
        refused = [_late(job) for job in jobs if job.deadline <= now]
        jobs = [job for job in jobs if job.deadline > now]
        culprits = 0
        while jobs:
            try:
                return refused + self._commit(jobs)
            except _BatchBroke:
                jobs = [job._replace(batch=None) for job in jobs]
                continue
            except _Culprit as culprit:
                culprits += 1
                error: Exception = culprit.error
                is_over = culprits == _CULPRITS or getattr(error, "connection_invalidated", False)
                out = jobs if is_over else [culprit.job]
            except Exception as failure:
                error, out = failure, jobs
            refused += _refuse(out, error)
            jobs = [] if out is jobs else [job for job in jobs if job not in out]
        return refused

    def _commit(self, jobs: list[_Job]) -> list[_Outcome]:
        started = time.perf_counter()
        with (
            self._engine.connect().execution_options(writes=True) as connection,
            Session(connection, self._keyring) as session,
        ):
            with session.begin():
                session.connection()
                outcomes: list[_Outcome] = []
                for batch, together in groupby(jobs, key=lambda job: job.batch):
                    outcomes += _run_each(session, batch, list(together))
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


def _run_each(session: Session, batch: Batch | None, jobs: Sequence[_Job]) -> list[_Outcome]:
    if batch is None or len(jobs) == 1:
        return [_run(session, job) for job in jobs]
    try:
        with session.begin_nested():
            results = batch(session, [job.item for job in jobs])
    except BaseException as error:
        if is_trouble(error):
            raise _BatchBroke from error
        session.expunge_all()
        return [_run(session, job) for job in jobs]
    return [
        _Outcome(job, None, result.error) if isinstance(result, Failed) else _Outcome(job, result, None)
        for job, result in zip(jobs, results, strict=True)
    ]


def _alone(batch: Batch, item: Any) -> Callable[[Session], Any]:
    """A batch of one, as a unit."""

    def unit(session: Session) -> Any:
        (result,) = batch(session, [item])
        if isinstance(result, Failed):
            raise result.error
        return result

    return unit


def _run(session: Session, job: _Job) -> _Outcome:
    try:
        with session.begin_nested():
            result = job.unit(session)
            session.flush()
    except BaseException as error:
        if isinstance(error, SQLAlchemyError) and is_trouble(error):
            raise _Culprit(job, error) from error
        session.expunge_all()
        return _Outcome(job, None, error)
    return _Outcome(job, result, None)


def _refuse(jobs: list[_Job], error: Exception) -> list[_Outcome]:
    _log.error("%d writes were refused: %s", len(jobs), error)
    outcomes: list[_Outcome] = []
    for job in jobs:
        reason = NotWritten(f"the database did not accept the write ({reason_of(error)}); try again")
        reason.__cause__ = error
        outcomes.append(_Outcome(job, None, reason))
    return outcomes


def _late(job: _Job) -> _Outcome:
    """Its caller has been told no already."""
    return _Outcome(job, None, NotWritten("the database was busy for too long; try again"))


def _answer(outcomes: list[_Outcome]) -> None:
    """Settle the callers' futures in their own loops, one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_loop[outcome.job.loop].append(outcome)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            _log.warning("%d writers' callers are gone: their loop is closed", len(mine))


def _settle(outcomes: list[_Outcome]) -> None:
    for job, result, error in outcomes:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, StopIteration) or not isinstance(error, Exception):
            job.future.set_exception(RuntimeError(f"the unit raised {error!r}"))
        else:
            job.future.set_exception(error)


def _ignore(_units: int, _seconds: float) -> None:
    return
