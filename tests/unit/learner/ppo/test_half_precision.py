"""A base in bfloat16 under adapters in float32, as on a GPU: small differences, no surprises."""

import math
from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base
from tests.learner_ppo import PROMPTS, SMALL, LikesWord

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import Memory
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.state import POLICY
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.rollouts.sampler import TransformersSampler


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ppo_runs_on_a_base_of_half_precision_with_checkpointing(tmp_path: Path, architecture: str) -> None:
    base = make_base(tmp_path / "base", architecture=architecture, scale=1.0)
    model = load_policy(base, dtype=torch.bfloat16, memory=Memory(gradient_checkpointing=True))
    config = PpoConfig(**(vars(SMALL) | {"iterations": 1}))
    folder, report = train_ppo(
        model, None, LikesWord(), PROMPTS, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    (said,) = report.history
    assert all(math.isfinite(value) for value in said.values())
    assert said["first_ratio_error"] < 0.1
    assert said["engine_gap"] < 0.05
    assert {p.dtype for p in model.parameters(POLICY)} == {torch.float32}
    assert any(bool(p.any()) for p in model.parameters(POLICY)[1::2]), "the B of every layer starts at zero"
    exact = load_policy(base)
    exact.load("trained", folder)
    assert exact.has("trained")
