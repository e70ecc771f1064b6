"""The meta step: its loss, where it moves the weights, and that they come back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.learner_models import make_base, said, snapshot, thumb

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.meta_step import ANSWERS, PROMPTS, MetaStep, difference, sample_shifted
from thumbwheel_learner.reward.model import RewardModel
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.sampler import TransformersSampler

CONFIG = RewardConfig(members=2, epochs=2, rank=4, held_out=0.0, meta_rate=0.5)
ANSWERED = ["sorry please", "rude no", "thanks refund late"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


def shifted(model: PolicyModel) -> list[list[Row]]:
    asked = [model.tokens.prompt_ids(said(q)) for q in ("my order", "where is the refund")]
    return [[Row(ids, model.tokens.answer_ids(a)) for a in ANSWERED] for ids in asked]


def apart(reward: RewardModel, rows: list[list[Row]]) -> float:
    with torch.no_grad():
        return sum(float(difference(reward.raw(group)).sum()) for group in rows)


def test_the_difference_loss_is_the_papers() -> None:
    scores = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 2.0]])
    one, two = torch.sigmoid(torch.tensor([1.0, 2.0])).tolist()
    assert difference(scores).tolist() == pytest.approx([2 / 9 * (2 * one + two), 2 / 9 * 1.5])


def test_weights_move_towards_telling_answers_apart_and_come_back(model: PolicyModel) -> None:
    reward, rows = RewardModel(model, CONFIG, "meta"), shifted(model)
    meta = MetaStep(reward, rows, 0.5, torch.Generator().manual_seed(0))
    before, identity = apart(reward, rows), reward.identity()
    with meta.moved():
        assert apart(reward, rows) > before
        assert reward.identity() != identity
    assert reward.identity() == identity
    with pytest.raises(KeyError), meta.moved():
        raise KeyError
    assert reward.identity() == identity


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_nothing_moves_without_a_rate_or_without_answers_to_compare(model: PolicyModel, rate: float) -> None:
    reward = RewardModel(model, CONFIG, "still")
    alone = [[rows[0]] for rows in shifted(model)]
    meta = MetaStep(reward, alone if rate else shifted(model), rate, torch.Generator().manual_seed(0))
    identity = reward.identity()
    with meta.moved():
        assert reward.identity() == identity


def test_training_takes_its_gradients_at_the_moved_weights(model: PolicyModel, tmp_path: Path) -> None:
    judged = [thumb(n, "my order", ANSWERED[n % 3], up=n % 3 != 1) for n in range(24)]
    data = snapshot(judged=judged)
    made = {
        (rate, bool(rows)): train_reward(
            model, data, replace(CONFIG, meta_rate=rate), tmp_path / f"{rate}{bool(rows)}", shifted=rows
        )[0].identity()
        for rate in (0.0, 0.5)
        for rows in ([], shifted(model))
    }
    assert made[0.0, True] == made[0.0, False] == made[0.5, False]
    assert made[0.5, True] != made[0.0, True]


def test_the_current_policys_answers_become_rows_in_groups_of_a_prompt(model: PolicyModel) -> None:
    prompts = [model.tokens.prompt_ids(said(f"my order {'now ' * (n % 5)}")) for n in range(PROMPTS + 10)]
    groups = sample_shifted(model, TransformersSampler(model), None, prompts, 16, seed=3)
    assert len(groups) == PROMPTS
    assert {len(group) for group in groups} == {ANSWERS}
    assert all(len({tuple(row.prompt) for row in group}) <= ANSWERS for group in groups)
    assert all(len(row) <= 16 for group in groups for row in group)
    assert len({tuple(row.answer) for group in groups for row in group}) > ANSWERS
