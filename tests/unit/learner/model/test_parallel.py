"""Parts of a batch on several threads: the same figures as on one, to the last bit."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base, one_thread_inside_operations
from torch import Tensor, nn

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.parallel import SideBySide
from thumbwheel_learner.model.tokens import make_batch

PARTS = [([2, 5, 4, 3], [6, 7, 4]), ([2, 8, 9, 4, 3], [5, 4]), ([2, 10, 4, 3], [11, 12, 13, 4]), ([2, 4, 3], [7, 4])]


def test_results_come_back_in_the_order_of_the_parts() -> None:
    assert SideBySide(3).map(lambda n: n * n, range(20)) == [n * n for n in range(20)]


@pytest.mark.parametrize("recording", [True, False])
def test_the_threads_record_gradients_exactly_if_the_caller_does(recording: bool) -> None:
    with torch.set_grad_enabled(recording):
        assert SideBySide(2).map(lambda _: torch.is_grad_enabled(), range(4)) == [recording] * 4


def test_what_breaks_in_a_part_breaks_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        SideBySide(2).map(lambda n: 1 // n, [1, 0])


def test_a_parameter_that_no_part_used_keeps_no_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def loss(part: float) -> tuple[Tensor, float]:
        return (used * part).sum(), part

    assert SideBySide(2).add_gradients(loss, [1.0, 2.0], [used, unused]) == [1.0, 2.0]
    assert used.grad is not None
    assert used.grad.tolist() == [3.0, 3.0]
    assert unused.grad is None


def test_longer_gradients_are_shortened_to_the_bound_and_shorter_ones_left_alone() -> None:
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    told: list[list[float]] = []

    def loss(part: tuple[float, float, float]) -> tuple[Tensor, None]:
        return (first * torch.tensor(part[:2])).sum() + (second * part[2]).sum(), None

    def bound(norms: Sequence[float]) -> float:
        told.append(list(norms))
        return 3.0

    SideBySide(1).add_gradients(loss, [(2.0, 1.0, 2.0), (60.0, 0.0, 80.0)], [first, second], bound)
    assert told == [[3.0, 100.0]]
    assert first.grad is not None
    assert second.grad is not None
    assert torch.allclose(torch.cat([first.grad, second.grad]), torch.tensor([2.0 + 1.8, 1.0, 2.0 + 2.4]))


def gradients(folder: Path, workers: int) -> list[Tensor]:
    model = load_policy(folder, workers=workers)
    for number, name in enumerate(("first", "second")):
        model.add(name, LoraConfig(rank=4))
        torch.manual_seed(number)
        for parameter in model.parameters(name):
            parameter.data.normal_(0, 0.1)
    parameters = [p for name in ("first", "second") for p in model.parameters(name)]

    def loss(part: int) -> tuple[Tensor, int]:
        prompt, answer = PARTS[part]
        batch = make_batch([prompt], [answer], pad_id=0)
        with model.using("first" if part % 2 else "second"):
            return -model.score_answers(batch).logprobs.mean(), part

    assert model.side_by_side.add_gradients(loss, range(len(PARTS)), parameters) == list(range(len(PARTS)))
    return [p.grad if p.grad is not None else torch.zeros(0) for p in parameters]


def test_two_threads_with_an_adapter_each_find_the_gradients_of_one_thread(tmp_path: Path) -> None:
    make_base(tmp_path)
    with one_thread_inside_operations():
        one, two = gradients(tmp_path, 1), gradients(tmp_path, 2)
    assert any(g.abs().sum() > 0 for g in one)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_wider_models_are_trained_with_smaller_rates(tmp_path: Path) -> None:
    narrow = load_policy(make_base(tmp_path / "narrow"))
    wide = load_policy(make_base(tmp_path / "wide", hidden=384))
    assert narrow.rate(2e-3) == 2e-3
    assert wide.rate(2e-3) == 1e-3
