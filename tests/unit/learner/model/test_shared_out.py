"""Parts shared out over several processes, here threads that meet at a barrier: all have the results of one."""

from typing import Any

import pytest
import torch
from tests.learner_world import Together, in_all
from torch import Tensor, nn

from thumbwheel_learner.model.parallel import SideBySide


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("in_step", [False, True])
def test_every_process_has_all_results_in_the_order_of_the_parts(count: int, in_step: bool) -> None:
    done: list[list[int]] = [[] for _ in range(3)]

    def work(world: Together) -> list[int]:
        def square(n: int) -> int:
            done[world.rank].append(n)
            return n * n

        return SideBySide(1, world, in_step=in_step).map(square, range(count))

    assert in_all(3, work) == [[n * n for n in range(count)]] * 3
    if in_step:
        assert len({len(parts) for parts in done}) == 1, "each makes as many passes as the others"
    else:
        assert sorted(n for mine in done for n in mine) == list(range(count)), "nothing is done twice"


@pytest.mark.parametrize("in_step", [False, True])
def test_every_process_has_the_sum_of_all_gradients_and_none_for_what_no_part_used(in_step: bool) -> None:
    def work(world: Together) -> tuple[list[int], list[float], Any, Any]:
        used, once, unused = (nn.Parameter(torch.ones(2)) for _ in range(3))

        def loss(part: int) -> tuple[Tensor, int]:
            return (used * (part + 1)).sum() + ((once * 10).sum() if part == 4 else 0.0), part

        said = SideBySide(1, world, in_step=in_step).add_gradients(loss, range(5), [used, once, unused])
        assert used.grad is not None
        assert once.grad is not None
        return said, used.grad.tolist(), once.grad.tolist(), unused.grad

    assert in_all(2, work) == [(list(range(5)), [15.0, 15.0], [10.0, 10.0], None)] * 2


def test_gradients_add_to_those_that_are_there() -> None:
    def work(world: Together) -> list[float]:
        parameter = nn.Parameter(torch.ones(1))
        shared = SideBySide(1, world)
        for _ in range(2):
            shared.add_gradients(lambda part: ((parameter * part).sum(), None), [1.0, 2.0, 3.0], [parameter])
        assert parameter.grad is not None
        return parameter.grad.tolist()

    assert in_all(2, work) == [[12.0], [12.0]]
