"""Calibration of the reward: a temperature that comes from labels it is not measured on, and is kept."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tests.learner_models import make_base, said, snapshot, thumb

from thumbwheel_learner.measures import ece, sigmoid
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import RewardModel, RewardScores, load_reward
from thumbwheel_learner.reward.report import MIN_CALIBRATION, cross_calibrated
from thumbwheel_learner.reward.training import train_reward

CONFIG = RewardConfig(members=1, epochs=4, rank=4, learning_rate=5e-3, head_learning_rate=5e-3, likelihood=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


def test_a_temperature_mends_boasts_and_no_label_calibrates_itself() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4_000) * 1.5
    labels = (rng.random(4_000) < sigmoid(logits)).astype(float)
    probabilities, calibration = cross_calibrated(4 * logits, labels)
    assert calibration.temperature == pytest.approx(4.0, rel=0.15)
    assert ece(probabilities, labels) < 0.04 < 0.1 < ece(sigmoid(4 * logits), labels)
    turned = labels.copy()
    turned[::2] = 1 - turned[::2]
    other, _ = cross_calibrated(4 * logits, turned)
    assert np.array_equal(other[::2], probabilities[::2])
    assert not np.array_equal(other[1::2], probabilities[1::2])


def test_few_labels_leave_the_logits_alone() -> None:
    logits = np.linspace(-3, 3, MIN_CALIBRATION - 1)
    probabilities, calibration = cross_calibrated(logits, (logits > 0).astype(float))
    assert calibration == (1.0, 0.0, 0.0)
    assert np.array_equal(probabilities, sigmoid(logits))


def test_temperature_and_shift_are_kept_with_the_model_and_used(model: PolicyModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    judged = [thumb(n, "my order", ("sorry", "rude")[n % 2], up=bool(rng.integers(2))) for n in range(300)]
    reward, report = train_reward(model, snapshot(judged=judged), CONFIG, tmp_path / "reward")
    assert reward.temperature == report.temperature != 1.0
    assert report.shift != 0.0
    asked, answers = [said("my order")] * 300, [j.answer for j in judged]
    held_out, up = reward.score_messages(asked[-45:], answers[-45:]), [j.value for j in judged[-45:]]
    assert float(reward.p_up(held_out).mean()) == pytest.approx(np.mean(up), abs=0.05)
    scores = RewardScores(torch.tensor([2.0]), torch.zeros(1), torch.tensor([[2.0]]))
    offset = float((reward.center + reward.thumb_bias.detach()).mean())
    meant = float(sigmoid(np.array((2.0 + offset) / reward.temperature)))
    assert 0 < reward.lapse == report.lapse
    assert float(reward.p_up(scores)) == pytest.approx(reward.lapse + (1 - 2 * reward.lapse) * meant)
    assert load_reward(model, tmp_path / "reward", prefix="again").lapse == pytest.approx(reward.lapse)


def test_centring_holds_the_level_that_ratings_alone_would_raise(model: PolicyModel, tmp_path: Path) -> None:
    happy = [
        msgspec.structs.replace(thumb(n, "my order", ("sorry", "thanks")[n % 2], up=True), kind="rating", value=5.0)
        for n in range(80)
    ]
    levels: list[float] = []
    for weight in (0.0, 10.0):
        config = replace(CONFIG, centering=weight, held_out=0.0)
        reward, _ = train_reward(model, snapshot(judged=happy), config, tmp_path / str(weight))
        levels.append(_level(reward))
    assert levels[0] > 0.5
    assert abs(levels[1]) < levels[0] / 2


def _level(reward: RewardModel) -> float:
    """Mean of the scores before they are centred."""
    centred = reward.score_messages([said("my order")] * 2, ["sorry", "thanks"])
    return float(centred.mean.mean() + reward.center.mean())
