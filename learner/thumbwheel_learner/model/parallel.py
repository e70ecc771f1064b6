"""Parts of a batch side by side: a thread each, and where there are several processes a share for each.

Operations of a small model are too short to be cut up for several cores: two threads inside every operation were
slower than one on the demo policy, two parts of a batch on two threads twice as fast. What is computed does not
depend on the number of threads: parts are given, results come back in their order. Of several processes each does every
n-th part; all get all results, and the sum of all gradients, which differs from one process's in the order of addition.
"""

# pyright: reportUnknownMemberType=false
# (the stubs of torch are partial; what leaves this file is typed)

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

from thumbwheel_learner.distributed.world import ALONE, World

T = TypeVar("T")
R = TypeVar("R")
Gradients = tuple[Tensor | None, ...]
Bound = Callable[[Sequence[float]], float]
"""From the lengths of all parts' gradients to the longest that one of them may have."""


class SideBySide:
    """A pool of `workers` threads for work on one model; adapters must be chosen inside the work (`model.using`)."""

    def __init__(self, workers: int, world: World = ALONE, *, in_step: bool = False) -> None:
        """`in_step`: every process works on as many parts as the others, since its passes need theirs."""
        self.workers = max(1, workers)
        self._world = world
        self._in_step = in_step
        self._pool = ThreadPoolExecutor(self.workers, "train", self._one_core) if self.workers > 1 else None

    @staticmethod
    def _one_core() -> None:
        torch.set_num_threads(1)

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """`work` of every part, in order; gradients are recorded exactly if the caller records them.

        With several processes a part's result must not depend on a gradient, and its work must change nothing else.
        """
        if self._world.size == 1:
            return self._threads(work, parts)
        return self._of_all(self._share_of(work, parts), len(parts))

    def _threads(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        if self._pool is None or len(parts) < 2:
            return [work(part) for part in parts]
        recording = torch.is_grad_enabled()

        def alike(part: T) -> R:
            with torch.set_grad_enabled(recording):
                return work(part)

        return list(self._pool.map(alike, parts))

    def add_gradients(
        self,
        loss: Callable[[T], tuple[Tensor, R]],
        parts: Sequence[T],
        parameters: Sequence[nn.Parameter],
        bound: Bound | None = None,
    ) -> list[R]:
        """Add the gradients of the summed losses to `parameters`, part after part; what came with each loss.

        With `bound` a part's gradient that is longer is shortened to it. Not `backward` in every thread: those would
        add to the same tensors in any order.
        """

        def grown(part: T) -> tuple[Gradients, R]:
            value, said = loss(part)
            return torch.autograd.grad(value, parameters, allow_unused=True), said

        mine = self._share_of(grown, parts)
        found = [gradients for gradients, _ in mine]
        if bound is not None:
            norms = [_norm(gradients) for gradients in found]
            _shorten(found, norms, bound(self._of_all(norms, len(parts))))
        for gradients in found if self._world.size == 1 else [self._summed(found, parameters)]:
            _add(gradients, parameters)
        return self._of_all([said for _, said in mine], len(parts))

    def _share_of(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """`work` of this process's parts; where it would have fewer than another, it does one for nothing."""
        mine = list(parts[self._world.rank :: self._world.size])
        idle = -(-len(parts) // self._world.size) - len(mine) if self._in_step else 0
        return self._threads(work, [*mine, *parts[:idle]])[: len(mine)]

    def _of_all(self, mine: list[R], count: int) -> list[R]:
        found = self._world.gather(mine)
        return [found[n % self._world.size][n // self._world.size] for n in range(count)]

    def _summed(
        self, found: Sequence[Sequence[Tensor | None]], parameters: Sequence[nn.Parameter]
    ) -> list[Tensor | None]:
        """Over all parts of all processes; None for what no part used: an optimiser leaves that alone."""
        sums = [torch.zeros_like(p) for p in parameters]
        used = torch.zeros(len(parameters))
        for gradients in found:
            for n, gradient in enumerate(gradients):
                if gradient is not None:
                    sums[n] += gradient
                    used[n] = 1.0
        self._world.add([*sums, used])
        return [total if there > 0 else None for total, there in zip(sums, used, strict=True)]


def _norm(gradients: Gradients) -> float:
    squares: list[float] = [float(gradient.square().sum()) for gradient in gradients if gradient is not None]
    return math.sqrt(sum(squares))


def _shorten(found: Sequence[Gradients], norms: Sequence[float], bound: float) -> None:
    for gradients, norm in zip(found, norms, strict=True):
        if norm > bound:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(bound / norm)


def _add(gradients: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
