"""PPO's numbers against exact ones: probability ratios, and KL divergences over every answer there is."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learner_models import ARCHITECTURES, make_base
from tests.learner_ppo import LikesWord

from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import make_batch
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.experience import observe
from thumbwheel_learner.ppo.state import POLICY, REFERENCE, PpoRun
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.ppo.update import minibatch_loss
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler

TEMPERATURE = 0.9


def moved(model: PolicyModel, adapter: str, by: float) -> None:
    """Away from the base, in every layer."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters(adapter):
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_first_ratio_is_one_although_the_passes_are_padded_differently(
    tmp_path: Path, architecture: str, answers: int
) -> None:
    model = load_policy(make_base(tmp_path / "base", architecture=architecture))
    config = PpoConfig(
        lora=LoraConfig(4, 8),
        iterations=2,
        prompts_per_iteration=12 // answers,
        answers_per_prompt=answers,
        max_tokens=6,
        minibatch_answers=5,
        batch_tokens=40,
    )
    prompts = [[2, *range(5, 5 + n), 4, 3] for n in range(1, 7)]
    _, report = train_ppo(
        model, None, LikesWord(), prompts, TransformersSampler(model), config, tmp_path / "out", work=tmp_path / "work"
    )
    assert [h["first_ratio_error"] < 1e-5 for h in report.history] == [True, True]
    assert all(h["engine_gap"] < 1e-5 for h in report.history)
    assert all(h["importance_mean"] == pytest.approx(1.0, abs=1e-5) for h in report.history)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_moved_policy_gives_every_answer_the_same_probability_in_any_company(
    tmp_path: Path, architecture: str
) -> None:
    model = load_policy(make_base(tmp_path / "base", architecture=architecture, scale=1.0))
    config = PpoConfig(lora=LoraConfig(4, 8), temperature=TEMPERATURE, batch_tokens=60)
    run = PpoRun(model, None, config)
    moved(model, POLICY, 0.1)
    prompts = [[2, *range(5, 5 + n), 4, 3] for n in (1, 9, 3, 7, 2, 5, 8, 4)]
    adapter = model.save(POLICY, tmp_path / "adapter")
    sampled = TransformersSampler(model).sample(adapter, prompts, n=2, max_tokens=8, temperature=TEMPERATURE, seed=3)
    asked = [p for p in prompts for _ in range(2)]
    experience = observe(run, asked, [r for row in sampled for r in row])
    experience.advantages = torch.ones_like(experience.logprobs)
    weights = experience.mask.float()
    assert float(experience.kl.sum(dim=1).mean()) > 0.05
    assert experience.entropy > 0.1
    stored = {frozenset(part) for part in experience.parts(range(16), config.batch_tokens)}
    for part in ([3, 2, 14, 15, 0, 1], [7], list(range(16))):
        assert frozenset(part) not in stored
        with torch.no_grad():
            _, measured = minibatch_loss(run, experience, part, weights)
        assert measured["ratio_error"] < 1e-5
        assert measured["clip_share"] == 0.0
        assert measured["step_kl"] == pytest.approx(0.0, abs=1e-6)


PROMPT, LONGEST, WORDS = [2, 5, 6, 4, 3], 3, ("yes", "no", "please")


def every_answer() -> list[list[int]]:
    """All that can be said with eight tokens in three steps, `<end>` (4) ending it."""
    said = [w for n in range(1, LONGEST + 1) for w in itertools.product(range(8), repeat=n)]
    return [list(w) for w in said if 4 not in w[:-1] and (w[-1] == 4 or len(w) == LONGEST)]


def exact_kl(model: PolicyModel, policy: Sequence[str], reference: Sequence[str]) -> float:
    """Sum over every answer of p log(p / q), nats."""
    answers = every_answer()
    batch = make_batch([PROMPT] * len(answers), answers, pad_id=0)
    logprobs: list[torch.Tensor] = []
    for names in (policy, reference):
        with torch.no_grad(), model.using(*names):
            logprobs.append(batch.unflatten(model.score_answers(batch, TEMPERATURE).logprobs).sum(1).double())
    p, q = logprobs
    assert float(p.exp().sum()) == pytest.approx(1.0, abs=1e-4)
    return float((p.exp() * (p - q)).sum())


@pytest.mark.parametrize("seed", range(4))
def test_the_kl_estimate_is_within_five_percent_of_the_exact_one(tmp_path: Path, seed: int) -> None:
    model = load_policy(make_base(tmp_path / "base", words=WORDS, scale=1.0))
    run = PpoRun(model, None, PpoConfig(lora=LoraConfig(4, 8), temperature=TEMPERATURE))
    moved(model, POLICY, 0.3)
    exact = exact_kl(model, [POLICY], [REFERENCE])
    adapter = model.save(POLICY, tmp_path / "adapter")
    [rollouts] = TransformersSampler(model).sample(
        adapter, [PROMPT], n=600, max_tokens=LONGEST, temperature=TEMPERATURE, seed=seed
    )
    estimate = float(observe(run, [PROMPT] * 600, rollouts).kl.sum(1).mean())
    assert exact > 0.1
    assert estimate == pytest.approx(exact, rel=0.05)


class Enumerates:
    """An engine that also works out how far each policy it is given is from where the run began, and from the base."""

    def __init__(self, model: PolicyModel) -> None:
        self.model = model
        self.inner = TransformersSampler(model)
        self.exact: list[tuple[float, float]] = []

    def sample(self, adapter: Path | None, prompts: Sequence[Sequence[int]], **how: Any) -> list[list[Rollout]]:
        assert adapter is not None
        self.model.load("asked", adapter)
        self.exact.append((exact_kl(self.model, ["asked"], ["began"]), exact_kl(self.model, ["asked"], [])))
        return self.inner.sample(adapter, prompts, **how)


def test_the_kl_that_a_run_logs_is_within_five_percent_of_the_exact_one(tmp_path: Path) -> None:
    model = load_policy(make_base(tmp_path / "base", words=WORDS, scale=1.0))
    model.add("began", LoraConfig(4, 8))
    moved(model, "began", 0.3)
    start = model.save("began", tmp_path / "start")
    engine = Enumerates(model)
    config = PpoConfig(
        iterations=4,
        prompts_per_iteration=400,
        answers_per_prompt=2,
        minibatch_answers=200,
        max_tokens=LONGEST,
        temperature=TEMPERATURE,
        learning_rate=0.05,
        target_step_kl=None,
    )
    _, report = train_ppo(
        model, start, LikesWord("please"), [PROMPT], engine, config, tmp_path / "out", work=tmp_path / "work"
    )
    logged = [h["kl"] for h in report.history]
    exact, to_base = zip(*engine.exact, strict=True)
    assert logged[0] == pytest.approx(0.0, abs=1e-6)
    assert exact[-1] > 0.1
    assert logged[1:] == pytest.approx(exact[1:], rel=0.05)
    # Of sixteen answers only: the same figure with more noise.
    assert [h["kl_base"] for h in report.history] == pytest.approx(to_base, rel=0.5)
