"""Credit by attention moves an answer's score between its tokens and leaves the sum alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base
from tests.learner_ppo import PROMPTS, SMALL, LikesWord
from torch import Tensor

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.credit import NoAttention, at_the_end, by_attention
from thumbwheel_learner.ppo.estimators import gae, token_rewards
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.rollouts.sampler import TransformersSampler

MASK = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
SCORES, KL = torch.tensor([1.0, -2.0, 3.0]), torch.full((3, 3), 0.5)


class LooksAtTheFirst(LikesWord):
    """Three quarters at the first token, the rest evenly at the others."""

    def attention(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        others = [len(a) - 1 for a in answers]
        return [torch.tensor([0.75, *[0.25 / n] * n] if n else [1.0]) for n in others]


def credit(share: float) -> Tensor:
    return by_attention(LooksAtTheFirst(), [[1]] * 3, [[5, 6, 7], [5], [5, 6]], MASK, share)


def test_the_share_follows_the_attention_and_the_rest_stays_at_the_end() -> None:
    assert torch.equal(credit(0.0), at_the_end(MASK))
    expected = torch.tensor([[0.375, 0.0625, 0.5625], [1.0, 0.0, 0.0], [0.375, 0.625, 0.0]])
    torch.testing.assert_close(credit(0.5), expected)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_an_answers_rewards_sum_to_what_they_did(share: float) -> None:
    spread, plain = (token_rewards(SCORES, KL, MASK, 0.1, c) for c in (credit(share), at_the_end(MASK)))
    torch.testing.assert_close(spread.sum(1), plain.sum(1))
    assert not spread[~MASK].any()
    returns = [gae(rewards, torch.zeros(3, 3), MASK, 1.0, 1.0)[1] for rewards in (spread, plain)]
    torch.testing.assert_close(returns[0][:, 0], returns[1][:, 0])
    assert not torch.allclose(returns[0], returns[1]), "later tokens hear less of what was paid before them"


def test_a_run_with_credit_learns_and_says_what_is_paid_at_the_end(tmp_path: Path) -> None:
    config = PpoConfig(**(vars(SMALL) | {"token_credit": 0.4, "iterations": 1}))
    written = []
    for n, how in enumerate((config, PpoConfig(**(vars(config) | {"token_credit": 0.0})))):
        model = load_policy(make_base(tmp_path / f"base{n}", scale=1.0))
        folder, report = train_ppo(
            model, None, LooksAtTheFirst(), PROMPTS, TransformersSampler(model), how, tmp_path / f"out{n}",
            work=tmp_path / f"work{n}",
        )  # fmt: skip
        written.append((folder / "adapter_model.safetensors").read_bytes())
        end = report.history[0]["end_credit"]
        assert end == pytest.approx(1.0) if n else 0.6 < end < 0.8
    assert written[0] != written[1]


def test_a_reward_that_looks_at_nothing_is_refused_before_anything_is_sampled(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base"))
    config = PpoConfig(**(vars(SMALL) | {"token_credit": 0.5}))
    with pytest.raises(NoAttention, match="LikesWord does not say"):
        train_ppo(
            model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "out",
            work=tmp_path / "work",
        )  # fmt: skip
