from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.learner_models import make_base, make_encoder, pair, said, snapshot, thumb

from thumbwheel_learner.dataset.examples import Judged
from thumbwheel_learner.measures import auc
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import UnsuitableModel
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.config import FROZEN, HEADS_ALONE, RewardConfig
from thumbwheel_learner.reward.encoder import NoEncoder
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.model import RewardModel, load_reward
from thumbwheel_learner.reward.training import train_reward

SHARP = RewardConfig(epochs=16, head_learning_rate=0.05, likelihood=False, trunk=FROZEN)
CONFIG = replace(SHARP, **HEADS_ALONE | {"prior_scale": 0.3})
GOOD, BAD = ("sorry please", "thanks refund", "yes sorry"), ("rude no", "bad now", "no late")
ASKED = [said("where is my order")] * 6
TRUTH = np.array([1.0] * 3 + [0.0] * 3)


def votes(count: int, seed: int) -> list[Judged]:
    rng = np.random.default_rng(seed)
    chosen = [(GOOD + BAD)[i] for i in rng.integers(6, size=count)]
    asked = [" ".join(rng.choice(["order", "late", "my", "where", "is"], size=3)) for _ in range(count)]
    return [thumb(n, q, a, up=a in GOOD) for n, (q, a) in enumerate(zip(asked, chosen, strict=True))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(params=["base", "encoder"])
def config(request: pytest.FixtureRequest, encoder: str) -> RewardConfig:
    return CONFIG if request.param == "base" else replace(CONFIG, trunk=encoder)


def test_heads_alone_learn_from_thumbs_and_pairs(model: PolicyModel, config: RewardConfig, tmp_path: Path) -> None:
    pairs = [pair(1000 + n, "late order", GOOD[n % 3], BAD[n % 3]) for n in range(20)]
    reward, report = train_reward(model, snapshot(judged=votes(200, 0), pairs=pairs), config, tmp_path / "reward")
    scores = reward.score_messages(ASKED, [*GOOD, *BAD])
    assert auc(scores.mean.double().numpy(), TRUTH) == 1.0
    assert report.pair_accuracy.mean == 1.0
    assert scores.members.shape == (6, 8)
    assert float(scores.std.min()) > 0
    assert not any(model.has(name) for name in ("reward_0", "reward_7"))


def test_a_saved_one_scores_the_same_elsewhere(model: PolicyModel, config: RewardConfig, tmp_path: Path) -> None:
    reward, _ = train_reward(model, snapshot(judged=votes(60, 1)), config, tmp_path / "reward")
    loaded = load_reward(model, tmp_path / "reward", prefix="other")
    expected, actual = (r.score_messages(ASKED, [*GOOD, *BAD]).members for r in (reward, loaded))
    torch.testing.assert_close(actual, expected)
    assert loaded.identity() == reward.identity()


def test_labels_read_once_score_as_when_they_are_read_again(
    model: PolicyModel, config: RewardConfig, tmp_path: Path
) -> None:
    reward, _ = train_reward(model, snapshot(judged=votes(40, 1)), config, tmp_path / "reward")
    assert reward.frozen is not None
    prompt = model.tokens.prompt_ids(said("where is my"))
    rows = [Row(prompt, model.tokens.answer_ids(text)) for text in (*GOOD, *BAD)]
    before = reward.vectors(rows)
    assert before.shape == (6, reward.frozen.width)
    scale = reward.frozen.scaling
    reward.frozen.keep(rows)
    reward.frozen.scaling = scale
    torch.testing.assert_close(reward.vectors(rows), before, atol=1e-5, rtol=1e-5)


def test_an_encoder_reads_a_long_prompt_from_its_end(model: PolicyModel, encoder: str) -> None:
    reward = RewardModel(model, replace(CONFIG, trunk=encoder), "long")
    assert reward.frozen is not None
    tail = "where is my order " * 30
    rows = [
        Row(model.tokens.prompt_ids(said(f"{first} {tail}")), model.tokens.answer_ids("yes sorry"))
        for first in ("rude", "good")
    ]
    one, other = reward.vectors(rows)
    torch.testing.assert_close(one, other)


def test_heads_alone_do_not_say_which_words_they_looked_at(model: PolicyModel) -> None:
    with pytest.raises(UnsuitableModel, match="heads alone"):
        RewardModel(model, CONFIG, "blind").attention([[5, 6]], [[7, 8]])


def test_an_encoder_that_is_none_is_named(model: PolicyModel, tmp_path: Path) -> None:
    with pytest.raises(NoEncoder, match=f"THUMBWHEEL_REWARD_TRUNK={tmp_path}"):
        RewardModel(model, replace(CONFIG, trunk=str(tmp_path)), "missing")
