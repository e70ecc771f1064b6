"""What a run trains, on a tiny model."""

from pathlib import Path
from typing import Any

import pytest
from tests.learner_models import make_base, snapshot
from tests.unit.learner.propensity.test_votes import desk

from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.distributed.crew import Tools
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.progress import silent
from thumbwheel_learner.propensity.weigh import PropensityConfig
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.training import TooFewLabels
from thumbwheel_learner.runs.jobs import learn_reward

SMALL = RewardConfig(members=1, epochs=1, mismatched=0, prior_scale=0.0)


def learned(folder: Path, data: Snapshot, propensity: PropensityConfig | None) -> tuple[float, dict[str, Any]]:
    """Share of a thumb up at reward 0, and what is said of the thumbs' weights."""
    nobody: Any = None
    tools = Tools(load_policy(make_base(folder / "base")), nobody, silent)
    report, said = learn_reward(
        tools,
        snapshot=data,
        config=SMALL,
        folder=folder / "reward",
        weights={},
        extra=[],
        shifted=None,
        propensity=propensity,
    )
    return report.train_loss, said


def test_thumbs_stand_for_the_silent_only_where_that_is_asked(tmp_path: Path) -> None:
    data = desk(600, 200)
    plain, nothing = learned(tmp_path / "plain", data, None)
    weighed, said = learned(tmp_path / "weighed", data, PropensityConfig())
    assert nothing == {}
    assert said["propensity"]["basis"] == "reviews"
    assert plain != weighed, "the weights reach the loss"
    unsure, why = learned(tmp_path / "unsure", data, PropensityConfig(min_reviews=201))
    assert why["propensity"]["reason"] == "200 reviews of the random slice, wanted 201"
    assert unsure == plain


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(TooFewLabels):
        learned(tmp_path, snapshot(), PropensityConfig())
