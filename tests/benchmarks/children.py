"""Work done in a process of its own, so that neither memory nor the interpreter's lock is shared with what measures."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, TypeVar

from tests.benchmarks.figures import memory_mib

T = TypeVar("T")
_SAMPLE_SECONDS = 0.25


class Done(NamedTuple, Generic[T]):
    """What came of it."""

    result: T
    memory: list[float]
    """Resident MiB, four times a second, until it was done."""

    def while_at_it(self, seconds: float) -> list[float]:
        """Of the last `seconds` alone: without what came before the work, as imports."""
        return self.memory[-max(1, int(seconds / _SAMPLE_SECONDS)) :]


def in_child(work: Callable[..., T], *given: Any) -> Done[T]:
    """Run `work(*given)` in a fresh process while watching its memory. Raises `ChildProcessError` when it fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(theirs, work, given))
    child.start()
    theirs.close()
    memory: list[float] = []
    while child.is_alive() and not ours.poll():
        memory.append(memory_mib(child.pid or 0))
        time.sleep(_SAMPLE_SECONDS)
    try:
        result = ours.recv()
    except EOFError:
        child.join()
        raise ChildProcessError(f"{work.__name__} ended with status {child.exitcode}; see above") from None
    child.join()
    return Done(result, [sample for sample in memory if sample])


def _work(pipe: Connection, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    pipe.send(work(*given))
    pipe.close()
