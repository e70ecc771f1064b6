"""Several processes played by threads: a `World` whose members meet at a barrier."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from thumbwheel_learner.distributed.world import FirstFailed, GroupBroken

T = TypeVar("T")


class Meeting:
    """Where the threads exchange what they hold; one that leaves breaks it for all."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=20)
        self.held: list[Any] = [None] * size


class Together:
    """A `World` of threads."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank = rank
        self.size = meeting.barrier.parties
        self.told: Exception | None = None
        self._meeting = meeting

    def gather(self, mine: T) -> list[T]:
        self._meeting.held[self.rank] = mine
        self._wait()
        held = list(self._meeting.held)
        self._wait()
        return held

    def add(self, tensors: Sequence[Any]) -> None:
        held = self.gather([t.clone() for t in tensors])
        for n, tensor in enumerate(tensors):
            tensor.copy_(sum(its[n] for its in held))

    def from_first(self, work: Callable[[], T]) -> T:
        said: Any = None
        if self.rank == 0:
            try:
                said = (True, work())
            except Exception as error:
                self.told, said = error, (False, error)
        succeeded, value = self.gather(said)[0]
        if succeeded:
            return value
        raise value if self.rank == 0 else FirstFailed(str(value))

    def _wait(self) -> None:
        try:
            self._meeting.barrier.wait()
        except threading.BrokenBarrierError as error:
            raise GroupBroken("another thread is gone") from error


def in_all(size: int, work: Callable[[Together], T]) -> list[T]:
    """What `work` gives every member, by rank; raises what it raises the first."""
    meeting = Meeting(size)

    def one(rank: int) -> T:
        try:
            return work(Together(rank, meeting))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
