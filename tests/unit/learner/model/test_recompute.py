"""Gradient checkpointing with the backward pass where it really is: after the adapters were let go."""

from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base
from torch import Tensor

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import Memory, PolicyModel
from thumbwheel_learner.model.tokens import make_batch

PROMPTS, ANSWERS = [[2, 6, 7, 4, 3], [2, 9, 4, 3]], [[10, 11, 4], [12, 4]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_block_is_run_again_with_the_adapter_it_had(tmp_path: Path, architecture: str) -> None:
    base = make_base(tmp_path, architecture=architecture)
    grown = []
    for checkpointing in (False, True):
        model = load_policy(base, memory=Memory(gradient_checkpointing=checkpointing))
        for name in ("policy", "other"):
            moved(model, name)
        with model.using("policy"):
            loss = -model.score_answers(make_batch(PROMPTS, ANSWERS, pad_id=0)).logprobs.mean()
        with model.using("other"):
            grown.append(torch.autograd.grad(loss, model.parameters("policy")))
    torch.testing.assert_close(grown[0], grown[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_members_that_share_the_lower_blocks_still_do_when_run_again(tmp_path: Path, architecture: str) -> None:
    base = make_base(tmp_path, architecture=architecture)
    grown = []
    for checkpointing in (False, True):
        model = load_policy(base, memory=Memory(gradient_checkpointing=checkpointing))
        for name in ("x", "y"):
            moved(model, name, first_block=1)
        with model.using("x", "y"):
            hidden = model.hidden(make_batch(PROMPTS, ANSWERS, pad_id=0), repeats=2, first_block=1)
        loss: Tensor = hidden.square().mean()
        grown.append(torch.autograd.grad(loss, [*model.parameters("x"), *model.parameters("y")]))
    torch.testing.assert_close(grown[0], grown[1], atol=1e-5, rtol=1e-5)


def moved(model: PolicyModel, name: str, first_block: int = 0) -> None:
    model.add(name, LoraConfig(4, 8), first_block=first_block)
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in model.parameters(name):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
