from pathlib import Path

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.tokens import make_batch
from thumbwheel_learner.rollouts.sampler import TransformersSampler

PROMPTS = [[2, 6, 7, 4, 3], [2, 9, 4, 3], [2, 5, 6, 7, 8, 9, 4, 3]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_behaviour_log_probabilities_are_those_of_the_trainer(tmp_path: Path, architecture: str) -> None:
    model = load_policy(make_base(tmp_path / "base", architecture=architecture))
    model.add("x", LoraConfig(4, 8))
    with torch.no_grad():
        for parameter in model.parameters("x"):
            parameter.add_(0.1)
    folder = model.save("x", tmp_path / "x")
    rollouts = TransformersSampler(model, batch_size=4).sample(
        folder, PROMPTS, n=3, max_tokens=8, temperature=0.8, seed=1
    )
    asked = [p for p, row in zip(PROMPTS, rollouts, strict=True) for _ in row]
    flat = [r for row in rollouts for r in row]
    batch = make_batch(asked, [r.token_ids for r in flat], pad_id=0)
    with torch.no_grad(), model.using("x"):
        trained = model.score_answers(batch, 0.8).logprobs
    assert torch.allclose(trained, torch.tensor([p for r in flat for p in r.logprobs]), atol=1e-5)
    for rollout in flat:
        assert rollout.finished == (rollout.token_ids[-1] in model.tokens.stop_ids)
        assert not any(t in model.tokens.stop_ids for t in rollout.token_ids[:-1])
        assert "<end>" not in rollout.text


def test_the_same_seed_gives_the_same_answers(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base"))
    sampler = TransformersSampler(model)
    one, again, other = (sampler.sample(None, PROMPTS, n=2, max_tokens=6, temperature=1.0, seed=s) for s in (1, 1, 2))
    assert one == again
    assert one != other
