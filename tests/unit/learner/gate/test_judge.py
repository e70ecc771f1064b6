from pathlib import Path

import pytest
from tests.learner_models import logged, make_base, pair, snapshot, thumb

from thumbwheel_learner.gate.judge import train_judge
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.labels import split_evidence


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load_policy(make_base(tmp_path_factory.mktemp("base")))


def test_a_trained_judge_is_checked_on_labels_it_never_saw(model: PolicyModel, tmp_path: Path) -> None:
    words = ["please", "rude"]
    data = snapshot(
        judged=[thumb(n, f"order {'my ' * (n % 3)}{n}", words[n % 2], up=n % 2 == 0) for n in range(160)],
        pairs=[pair(500 + n, f"refund {n}", "please", "rude") for n in range(40)],
        prompts=[logged(n, f"order {n}") for n in range(50)],
    )
    config = RewardConfig(members=2, epochs=6, rank=4, held_out=0.0, learning_rate=5e-3, head_learning_rate=5e-3)
    # Every word but a few is unknown to this tokenizer, so prompts differ for people and not for the model.
    evidence = split_evidence(data, 0.3)
    trained = train_judge(model, evidence, config, tmp_path / "judge", resamples=100, seed=0)
    assert trained is not None
    assert trained.labels == len(evidence.judge.judged) + len(evidence.judge.pairs)
    assert trained.quality.n == len(evidence.training.judged) + len(evidence.training.pairs)
    assert trained.quality.low > 0.9
    nothing = split_evidence(snapshot(), 0.3)
    assert train_judge(model, nothing, config, tmp_path / "none", resamples=100, seed=0) is None
