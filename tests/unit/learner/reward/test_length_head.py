"""The length head: what it is trained towards, and that the reward without it owes less to length."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.learner_models import make_base, said, snapshot, thumb

from thumbwheel_learner.dataset.examples import Judged
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.length_head import FEWEST, REMEMBERED, HeardLength, LengthHead, pearson
from thumbwheel_learner.reward.model import ALL, load_reward
from thumbwheel_learner.reward.training import train_reward

CONFIG = RewardConfig(
    members=1, epochs=8, rank=4, learning_rate=5e-3, head_learning_rate=5e-3, likelihood=False, held_out=0.0
)
FILLER = ["order", "late", "where", "is", "my", "the", "now"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


def heard(quality: list[float], length: list[float], tokens: list[float]) -> HeardLength:
    return HeardLength(slice(0, 1), torch.tensor([quality]), torch.tensor([length]), torch.tensor(tokens))


def test_correlation_is_pearsons_and_nothing_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    found = pearson(torch.tensor(x), torch.tensor(x + y))
    assert float(found) == pytest.approx(np.corrcoef(x, x + y)[0, 1])
    assert float(pearson(torch.ones(5), torch.arange(5.0))) == 0.0


def test_the_loss_is_least_where_length_is_in_one_head_alone() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 30, size=200).astype(float).tolist()
    noise = rng.normal(size=200).tolist()
    head = LengthHead(1, 4, torch.Generator().manual_seed(0))
    orthogonal = torch.linalg.qr(torch.cat([head.head.detach(), torch.randn(3, 4)]).T).Q.T[1:2]
    apart = float(head.loss(heard(noise, tokens, tokens), orthogonal).detach())
    mixed = float(head.loss(heard(tokens, tokens, tokens), orthogonal).detach())
    against = float(head.loss(heard([-t for t in tokens], tokens, tokens), orthogonal).detach())
    aligned = float(head.loss(heard(noise, tokens, tokens), head.head.detach()).detach())
    rho = float(np.corrcoef(noise, tokens)[0, 1])
    assert apart == pytest.approx(abs(rho) - 1, abs=1e-4)
    assert mixed == pytest.approx(0.0, abs=1e-4)
    assert against == pytest.approx(mixed, abs=1e-4)
    assert aligned == pytest.approx(apart + 1, abs=1e-4)


def test_a_small_step_is_correlated_together_with_the_ones_before_it() -> None:
    head = LengthHead(2, 4, torch.Generator().manual_seed(0))
    few = HeardLength(ALL, torch.randn(2, 8), torch.randn(2, 8), torch.arange(8.0))
    cosine_alone = float(head.loss(few, head.head.detach()).detach())
    assert cosine_alone == pytest.approx(2.0, abs=1e-4)
    for _ in range(FEWEST // 8):
        head.remember(few)
    assert float(head.loss(few, head.head.detach()).detach()) != pytest.approx(cosine_alone, abs=1e-3)
    torch.testing.assert_close(head.level(), few.length.mean(dim=1))
    level = torch.full((2, 8), 3.0)
    for _ in range(REMEMBERED // 8):
        head.remember(HeardLength(ALL, level, level, torch.arange(8.0)))
    torch.testing.assert_close(head.level(), torch.full((2,), 3.0))


def test_gradients_flow_to_both_heads_and_to_what_they_read() -> None:
    head = LengthHead(1, 4, torch.Generator().manual_seed(0))
    features = torch.randn(1, 40, 4, requires_grad=True)
    quality_head = torch.nn.Parameter(torch.randn(1, 4))
    rows = [Row([2], [5] * (1 + n % 9)) for n in range(40)]
    quality = torch.einsum("knf,kf->kn", features, quality_head)
    head.loss(head.read(features, quality, rows, ALL), quality_head).backward()
    for tensor in (head.head, quality_head, features):
        assert tensor.grad is not None
        assert float(tensor.grad.abs().sum()) > 0


def votes(count: int, seed: int) -> list[Judged]:
    """Kind answers please, and so do long ones."""
    rng = np.random.default_rng(seed)
    made: list[Judged] = []
    for n in range(count):
        kind, long = bool(rng.integers(2)), int(rng.integers(0, 7))
        words = ["sorry" if kind else "rude", *rng.choice(FILLER, size=long)]
        logit = (2.0 if kind else -2.0) + 0.7 * (long - 3)
        made.append(thumb(n, "where is my order", " ".join(words), up=rng.random() < 1 / (1 + np.exp(-logit))))
    return made


def test_the_reward_owes_less_to_length_and_still_knows_quality(model: PolicyModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    answers = [" ".join(["sorry" if n % 2 else "rude", *rng.choice(FILLER, size=n // 2 % 7)]) for n in range(84)]
    lengths, kind = np.array([len(a.split()) for a in answers]), np.array([n % 2 for n in range(84)], dtype=float)
    by_length: dict[float, float] = {}
    for weight in (0.0, 1.0):
        config = replace(CONFIG, length_head=weight)
        reward, _ = train_reward(model, snapshot(judged=votes(400, 0)), config, tmp_path / str(weight))
        scores = reward.score_messages([said("where is my order")] * 84, answers).mean.numpy()
        by_length[weight] = abs(float(np.corrcoef(scores, lengths)[0, 1]))
        assert np.corrcoef(scores, kind)[0, 1] > 0.6
    assert by_length[0.0] > 0.4
    assert by_length[1.0] < 0.2


def test_the_length_head_is_not_kept(model: PolicyModel, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1, length_head=1.0)
    reward, _ = train_reward(model, snapshot(judged=votes(40, 3)), config, tmp_path / "reward")
    again = load_reward(model, tmp_path / "reward", prefix="again")
    asked = [said("my order")] * 2
    one, other = (r.score_messages(asked, ["sorry", "rude late"]).members for r in (reward, again))
    assert torch.equal(one, other)
    assert not [name for name in vars(again) if "length" in name]
