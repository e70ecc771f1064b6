"""One writer with group commit: many callers share one fsync, and a bad unit fails its own caller alone."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session

from thumbwheel_service.errors import ServiceError, TooMany, Unavailable

T = TypeVar("T")


class _Job(NamedTuple):
    unit: Callable[[Session], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class WriterClosed(Unavailable):
    """The service is stopping."""


class Writer:
    """Runs units of work in one thread, in order; each unit in its own savepoint, all that wait in one transaction.

    A unit is a function of a `Session`. `await run(unit)` returns its result once it is committed and on disk. What
    the unit raises reaches its own caller; when the commit itself fails every caller of the group gets `Unavailable`.
    """

    def __init__(self, engine: Engine, *, capacity: int = 4096, group: int = 256) -> None:
        self._engine = engine
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=capacity)
        self._group = group
        self._closed = False
        self._after_commit: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
        self._thread.start()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` from the writer thread after every commit (e.g. to wake readers of the log)."""
        self._after_commit.append(callback)

    async def run(self, unit: Callable[[Session], T]) -> T:
        """Run `unit` durably; raises what it raises, `TooMany` when the queue is full, `Unavailable` on a failed commit."""
        if self._closed:
            raise WriterClosed("the service is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            self._jobs.put_nowait(_Job(unit, loop, future))
        except queue.Full as error:
            raise TooMany("the write queue is full") from error
        return await asyncio.shield(future)

    def close(self) -> None:
        """Finish what is queued, then stop the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while True:
            first = self._jobs.get()
            if first is None:
                return
            jobs, stop = self._gather(first)
            self._commit(jobs)
            if stop:
                return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
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

    def _commit(self, jobs: list[_Job]) -> None:
        done: list[tuple[_Job, Any]] = []
        failed: list[tuple[_Job, BaseException]] = []
        try:
            connection = self._engine.connect().execution_options(writes=True)
            with connection, Session(connection, autoflush=False, expire_on_commit=False) as session:
                with session.begin():
                    for job in jobs:
                        self._run_unit(session, job, done, failed)
        except Exception as error:
            reason = Unavailable(f"the database did not accept the write: {error}")
            reason.__cause__ = error
            answered = {id(job) for job, _ in failed}
            failed += [(job, reason) for job in jobs if id(job) not in answered]
            done = []
        for job, result in done:
            _answer(job, result, None)
        for job, error in failed:
            _answer(job, None, error)
        for callback in self._after_commit:
            callback()

    def _run_unit(
        self,
        session: Session,
        job: _Job,
        done: list[tuple[_Job, Any]],
        failed: list[tuple[_Job, BaseException]],
    ) -> None:
        try:
            with session.begin_nested():
                result = job.unit(session)
                session.flush()
        except OperationalError:
            raise
        except (ServiceError, DBAPIError, ValueError, TypeError, KeyError, AssertionError) as error:
            session.expunge_all()
            failed.append((job, error))
        else:
            done.append((job, result))


def _answer(job: _Job, result: Any, error: BaseException | None) -> None:
    def settle() -> None:
        if job.future.cancelled():
            return
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass
