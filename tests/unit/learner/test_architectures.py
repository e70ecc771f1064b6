"""Every trainer on tiny random models of every architecture there is a test model of: what it teaches is learned."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.learner_models import ARCHITECTURES, demo, make_base, one_thread_inside_operations, pair, snapshot, thumb
from tests.learner_ppo import PROMPTS, SMALL, LikesWord
from transformers import PreTrainedTokenizerFast

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import ChatTokenizer
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import load_reward
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.sft import SftConfig, train_sft


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PolicyModel]:
    base = make_base(tmp_path / "base", architecture=request.param, scale=1.0)
    with one_thread_inside_operations():
        model = load_policy(base)
        # To a Qwen 2 checkpoint transformers give Qwen's byte-level tokenizer, whatever its folder holds.
        model.tokens = ChatTokenizer(PreTrainedTokenizerFast.from_pretrained(base), frozenset({4}))
        yield model


def test_demonstrations_become_likelier(model: PolicyModel, tmp_path: Path) -> None:
    demos = [demo(n, f"where is my order {word}", "sorry the refund is now") for n, word in enumerate(("late", "bad"))]
    config = SftConfig(lora=LoraConfig(4, 8), epochs=12, learning_rate=1e-2)
    _, report = train_sft(model, None, snapshot(demos=demos), config, tmp_path / "sft")
    assert report.loss_after < 0.7 * report.loss_before


def test_a_reward_model_learns_pairs_and_thumbs_and_is_read_back_the_same(model: PolicyModel, tmp_path: Path) -> None:
    judged = [thumb(n, "order now", "thanks" if n % 2 else "rude", up=n % 2 == 1, user=f"u{n % 4}") for n in range(24)]
    pairs = [pair(n, "my order late", "sorry thanks", "rude no") for n in range(24, 40)]
    config = RewardConfig(rank=4, alpha=8, epochs=12, learning_rate=2e-2, head_learning_rate=2e-2, batch_tokens=128)
    reward, report = train_reward(model, snapshot(judged=judged, pairs=pairs), config, tmp_path / "reward")
    assert report.train_loss < 0.75 * math.log(2)
    asked, said = [[2, 10, 15, 4, 3]] * 2, ["thanks", "rude"]
    scores = reward.score(asked, said)
    assert bool((scores.members[0] > scores.members[1]).all())
    again = load_reward(model, tmp_path / "reward", prefix="again").score(asked, said)
    assert again.members.tolist() == scores.members.tolist()


def test_ppo_takes_its_steps_from_a_ratio_of_one(model: PolicyModel, tmp_path: Path) -> None:
    config = replace(SMALL, iterations=2, answers_per_prompt=2, prompts_per_iteration=12)
    engine = TransformersSampler(model)
    _, report = train_ppo(model, None, LikesWord(), PROMPTS, engine, config, tmp_path / "out", work=tmp_path / "work")
    first, second = report.history
    assert all(h["first_ratio_error"] < 1e-5 for h in report.history)
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    assert first["minibatches"] >= 1
    assert second["kl"] > 1e-4
