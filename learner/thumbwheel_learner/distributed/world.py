"""The processes that train one model together: all run the same program on the same data and share out its work."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from thumbwheel_learner.errors import LearnerError

T = TypeVar("T")
PATIENCE = timedelta(days=365)
"""How long a process waits for the first one, which may have nothing to train for weeks."""


class GroupBroken(LearnerError):
    """A process is gone or has fallen out of step with the others, so that none can go on."""


class FirstFailed(LearnerError):
    """The first process could not do what the others wait for; it raises the error itself."""


class World(Protocol):
    """What a trainer asks of the processes it runs in. Each method is called by all of them, in the same order."""

    rank: int
    """0 is the first process: it alone reads and writes files, samples, and speaks to the world outside."""
    size: int
    told: Exception | None
    """What the first process last raised in `from_first`, and hence all of them."""

    def gather(self, mine: T) -> list[T]:
        """What every process holds, by rank."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor (float32) by its sum over the processes; the sums are the same bytes in all of them."""
        ...

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` gives the first process, for all; the others do not call it, and raise `FirstFailed` with it."""
        ...


class Alone:
    """A `World` of one process."""

    rank, size = 0, 1
    told: Exception | None = None

    def gather(self, mine: T) -> list[T]:
        """Mine alone."""
        return [mine]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """A sum of one."""

    def from_first(self, work: Callable[[], T]) -> T:
        """This process is the first."""
        return work()


ALONE = Alone()


class Group:
    """A `World` on torch.distributed. Objects travel pickled: the processes must trust each other and their network."""

    def __init__(self) -> None:
        """Of the default process group, which must be there."""
        self.rank: int = dist.get_rank()
        self.size: int = dist.get_world_size()
        self.told: Exception | None = None
        self._objects: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def gather(self, mine: T) -> list[T]:
        """See `World`."""
        found: list[Any] = [None] * self.size
        with _broken_by_silence():
            dist.all_gather_object(found, mine, group=self._objects)
        return found

    def add(self, tensors: Sequence[Tensor]) -> None:
        """See `World`; one message, whatever the number of tensors."""
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        with _broken_by_silence():
            dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def from_first(self, work: Callable[[], T]) -> T:
        """See `World`."""
        box: list[Any] = [None]
        failed: Exception | None = None
        if self.rank == 0:
            try:
                box = [(True, work())]
            except Exception as error:
                failed, box = error, [(False, f"{type(error).__name__}: {error}")]
        with _broken_by_silence():
            dist.broadcast_object_list(box, src=0, group=self._objects)
        if failed is not None:
            self.told = failed
            raise failed
        succeeded, value = box[0]
        if not succeeded:
            raise FirstFailed(value)
        return value


@contextmanager
def _broken_by_silence() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise GroupBroken(f"another process of the group is gone: {str(error).splitlines()[0]}") from error


@contextmanager
def joined() -> Iterator[World]:
    """The processes that torchrun started, as it tells each of them in its environment."""
    dist.init_process_group("gloo")
    try:
        yield Group()
    finally:
        dist.destroy_process_group()
