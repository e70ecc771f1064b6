"""What the lower blocks make of a row is made once, and is the same as made anew."""

from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base, pair, snapshot, thumb

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import make_batch
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.training import train_reward

ROWS = [Row([2, 5 + n % 9, 4, 3], [7] * (1 + n % 4) + [4]) for n in range(40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")), workers=2)


def test_kept_states_are_those_of_a_fresh_pass_whatever_the_padding(model: PolicyModel) -> None:
    trunk = Trunk(model, 1, ROWS, 1 << 20)
    mine = [ROWS[3], ROWS[0], ROWS[17]]
    assert trunk.holds(mine)
    batch = make_batch([r.prompt for r in mine], [r.answer for r in mine], pad_id=0, extra=3)
    fresh, kept = model.states_below(batch, 1), trunk.below(mine, batch)
    assert kept.shape == fresh.shape
    for n, row in enumerate(mine):
        assert torch.allclose(kept[n, : len(row)], fresh[n, : len(row)], atol=1e-5)


def test_what_does_not_fit_is_not_kept(model: PolicyModel) -> None:
    token = model.hidden_size * 4
    trunk = Trunk(model, 1, ROWS, token * (len(ROWS[0]) + len(ROWS[1])))
    assert trunk.holds(ROWS[:2])
    assert not trunk.holds(ROWS[:3])
    assert not Trunk(model, 0, ROWS, 1 << 20).holds(ROWS[:1])


def test_a_reward_model_learns_the_same_with_and_without(model: PolicyModel, tmp_path: Path) -> None:
    data = snapshot(
        judged=[thumb(n, f"order {'my ' * (n % 3)}{n}", ["please", "rude"][n % 2], up=n % 2 == 0) for n in range(24)],
        pairs=[pair(100 + n, "refund", "please", "rude sorry") for n in range(8)],
    )
    heads = []
    for limit in (1 << 20, 0):
        config = RewardConfig(epochs=2, rank=4, adapted_blocks=0.5, batch_tokens=64, trunk_bytes=limit)
        reward, _ = train_reward(model, data, config, tmp_path / str(limit))
        heads.append(reward.head.detach().clone())
    assert torch.allclose(*heads, atol=1e-4)
