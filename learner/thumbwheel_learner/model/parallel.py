"""Parts of a batch side by side, a thread each.

Operations of a small model are too short to be cut up for several cores: two threads inside every operation were
slower than one on the demo policy, two parts of a batch on two threads twice as fast. What is computed does not
depend on the number of threads: parts are given, results come back in their order.
"""

# pyright: reportUnknownMemberType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
R = TypeVar("R")


class SideBySide:
    """A pool of `workers` threads for work on one model; adapters must be chosen inside the work (`model.using`)."""

    def __init__(self, workers: int) -> None:
        self.workers = max(1, workers)
        self._pool = ThreadPoolExecutor(self.workers, "train", self._one_core) if self.workers > 1 else None

    @staticmethod
    def _one_core() -> None:
        torch.set_num_threads(1)

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """`work` of every part, in order; gradients are recorded exactly if the caller records them."""
        if self._pool is None or len(parts) < 2:
            return [work(part) for part in parts]
        recording = torch.is_grad_enabled()

        def alike(part: T) -> R:
            with torch.set_grad_enabled(recording):
                return work(part)

        return list(self._pool.map(alike, parts))

    def add_gradients(
        self, loss: Callable[[T], tuple[Tensor, R]], parts: Sequence[T], parameters: Sequence[nn.Parameter]
    ) -> list[R]:
        """Add the gradients of the summed losses to `parameters`, part after part; what came with each loss.

        Not `backward` in every thread: those would add to the same tensors in any order.
        """

        def grown(part: T) -> tuple[tuple[Tensor | None, ...], R]:
            value, said = loss(part)
            return torch.autograd.grad(value, parameters, allow_unused=True), said

        found = self.map(grown, parts)
        for gradients, _ in found:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return [said for _, said in found]
