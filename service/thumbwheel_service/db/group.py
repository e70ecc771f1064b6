"""The units of one group of the writer: each is done in a savepoint of its own, and its caller answered."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from thumbwheel_service.db.session import Session
from thumbwheel_service.db.trouble import is_trouble

_log = logging.getLogger(__name__)


class Failed(NamedTuple):
    """What became of one item of a batch that could not be done; the others are."""

    error: Exception


Batch = Callable[[Session, Sequence[Any]], Sequence[Any]]
"""Does many items of one kind in few statements, and answers each in order: with its result, or `Failed`."""


class Job(NamedTuple):
    """A unit of work and who waits for it."""

    unit: Callable[[Session], Any]
    batch: Batch | None
    """Does `item` together with others."""
    item: Any
    deadline: float
    """Of the monotonic clock: its caller is told no by then."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """What a caller is told."""

    job: Job
    result: Any
    error: BaseException | None


class Culprit(Exception):
    """The database failed under a unit: its transaction may be gone, so the others of the group start again."""

    def __init__(self, job: Job, error: SQLAlchemyError) -> None:
        super().__init__()
        self.job = job
        self.error = error


class BatchBroke(Exception):
    """The database failed under a batch, and nobody knows under which item: each is done alone."""


def alone(batch: Batch, item: Any) -> Callable[[Session], Any]:
    """A batch of one, as a unit."""

    def unit(session: Session) -> Any:
        (result,) = batch(session, [item])
        if isinstance(result, Failed):
            raise result.error
        return result

    return unit


def run_each(session: Session, batch: Batch | None, jobs: Sequence[Job]) -> list[Outcome]:
    """Do jobs of one batch, or of none; what a unit raises is its own outcome. Raises `Culprit`, `BatchBroke`."""
    if batch is None or len(jobs) == 1:
        return [_run(session, job) for job in jobs]
    try:
        with session.begin_nested():
            results = batch(session, [job.item for job in jobs])
    except BaseException as error:
        if is_trouble(error):
            raise BatchBroke from error
        session.expunge_all()
        return [_run(session, job) for job in jobs]
    return [
        Outcome(job, None, result.error) if isinstance(result, Failed) else Outcome(job, result, None)
        for job, result in zip(jobs, results, strict=True)
    ]


def _run(session: Session, job: Job) -> Outcome:
    try:
        with session.begin_nested():
            result = job.unit(session)
            session.flush()
    except BaseException as error:
        if isinstance(error, SQLAlchemyError) and is_trouble(error):
            raise Culprit(job, error) from error
        session.expunge_all()
        return Outcome(job, None, error)
    return Outcome(job, result, None)


def answer(outcomes: list[Outcome]) -> None:
    """Settle the callers' futures in their own loops, one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_loop[outcome.job.loop].append(outcome)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            _log.warning("%d writers' callers are gone: their loop is closed", len(mine))


def _settle(outcomes: list[Outcome]) -> None:
    for job, result, error in outcomes:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, StopIteration) or not isinstance(error, Exception):
            job.future.set_exception(RuntimeError(f"the unit raised {error!r}"))
        else:
            job.future.set_exception(error)
