"""What the reward model looked at, against the attention that transformers itself tells of."""

from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import RewardModel

PROMPTS, ANSWERS = [[2, 6, 7, 4, 3], [2, 9, 4, 3], [2, 8, 4, 3]], [[10, 11, 4], [12, 5, 13, 9, 4], [4]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shares_are_the_last_blocks_attention_from_the_end_over_the_answer(tmp_path: Path, architecture: str) -> None:
    from transformers import AutoModelForCausalLM

    base = make_base(tmp_path, architecture=architecture)
    reward = RewardModel(load_policy(base), RewardConfig(members=2, adapted_blocks=0.5), "reward")
    shares = reward.attention(PROMPTS, ANSWERS)
    plain = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    for prompt, answer, share in zip(PROMPTS, ANSWERS, shares, strict=True):
        told = plain(torch.tensor([prompt + answer]), output_attentions=True).attentions[-1][0, :, -1].mean(0)
        torch.testing.assert_close(share, (told[len(prompt) :] / told[len(prompt) :].sum()).detach())


def test_members_are_averaged_and_the_model_attends_as_before(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path))
    reward = RewardModel(model, RewardConfig(members=2), "reward")
    before, fast = reward.score(PROMPTS, ["sorry"] * 3).members, model.base.config._attn_implementation
    fresh = reward.attention(PROMPTS, ANSWERS)
    with torch.no_grad():
        for parameter in model.parameters("reward_1"):
            parameter.add_(0.3)
    both = reward.attention(PROMPTS, ANSWERS)
    with torch.no_grad():
        for parameter, same in zip(model.parameters("reward_0"), model.parameters("reward_1"), strict=True):
            parameter.copy_(same)
    moved = reward.attention(PROMPTS, ANSWERS)
    assert not torch.allclose(fresh[1], moved[1], atol=1e-3)
    # Members look with the same weight, but over prompt and answer: their mean lies between, not always in the middle.
    between = torch.minimum(fresh[1], moved[1]) - 1e-6, torch.maximum(fresh[1], moved[1]) + 1e-6
    assert bool(((between[0] <= both[1]) & (both[1] <= between[1])).all())
    assert model.base.config._attn_implementation == fast
    again = RewardModel(model, RewardConfig(members=2), "reward")
    assert torch.equal(again.score(PROMPTS, ["sorry"] * 3).members, before)
