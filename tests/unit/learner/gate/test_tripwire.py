from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.learner_models import make_base
from tests.learner_ppo import PROMPTS, LikesWord

from thumbwheel_learner.gate.checks import Checks, quality
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.judge import Judge
from thumbwheel_learner.gate.tripwire import JudgeTripwire, tripwire_of
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import train_ppo
from thumbwheel_learner.reward.model import RewardScores
from thumbwheel_learner.rollouts.engine import Rollout
from thumbwheel_learner.rollouts.sampler import TransformersSampler

CONFIG = GateConfig(resamples=100, tripwire_every=2, tripwire_prompts=24, max_tokens=6, min_judge_labels=20)
PPO = PpoConfig(
    lora=LoraConfig(4, 8),
    iterations=10,
    prompts_per_iteration=48,
    answers_per_prompt=1,
    max_tokens=6,
    minibatch_answers=16,
    learning_rate=2e-2,
    kl_coef=0.01,
)


class Dislikes(LikesWord):
    """The opposite taste, its members not all alike."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        shares = -super().score(prompts, answers).members
        shares[:, 1] *= 0.7
        return RewardScores(shares.mean(1), shares.std(1, correction=0), shares)


def judge(model: Any, agreement: float = 1.0) -> Judge:
    """Checked by 100 people, who like what it scores highly in an `agreement` of cases."""
    texts = [" ".join(["thanks"] * (n % 5) + ["late"] * (4 - n % 5)) for n in range(100)]
    scores = model.score([[2]] * 100, texts).members.double().numpy()
    high = scores.mean(1) > np.median(scores.mean(1))
    liked = np.array([h == (n < 100 * agreement) for n, h in enumerate(high)], dtype=float)
    checks = Checks(np.zeros(100, dtype=bool), liked, scores, scores, np.arange(100))
    return Judge(model, checks, quality(checks, 100, 0), 100)


@pytest.fixture
def model(tmp_path: Path) -> PolicyModel:
    return load_policy(make_base(tmp_path / "base", scale=1.0))


def run(model: PolicyModel, where: Path, tripwire: JudgeTripwire | None) -> tuple[Path, Any]:
    engine = TransformersSampler(model)
    return train_ppo(
        model, None, LikesWord(), PROMPTS, engine, PPO, where / "out", work=where / "work", tripwire=tripwire
    )


def wire(model: PolicyModel, taste: Any, where: Path, **changes: Any) -> JudgeTripwire:
    engine = TransformersSampler(model)
    return JudgeTripwire(judge(taste), LikesWord(), PROMPTS, engine, replace(CONFIG, **changes), where)


def test_a_reward_that_is_hacked_on_purpose_stops_the_run_and_the_best_policy_is_kept(
    model: PolicyModel, tmp_path: Path
) -> None:
    folder, report = run(model, tmp_path, wire(model, Dislikes(), tmp_path / "looks"))
    assert report.stopped is not None
    assert report.stopped.startswith("reward hacking: from iteration 0 to ")
    assert "while the held-out judge prefers the earlier answers" in report.stopped
    assert report.iterations < 10
    assert (report.history[-1]["kept"], report.kl) == (0.0, pytest.approx(0.0, abs=1e-6))
    how: dict[str, Any] = {"n": 1, "max_tokens": 6, "temperature": 1.0, "seed": 5}
    engine = TransformersSampler(model)
    start, kept = engine.sample(None, PROMPTS, **how), engine.sample(folder, PROMPTS, **how)
    assert [r[0].text for r in kept] == [r[0].text for r in start], "nothing that was learned is left"


def test_a_reward_that_the_judge_shares_goes_on_to_the_end(model: PolicyModel, tmp_path: Path) -> None:
    looks = tmp_path / "looks"
    _, report = run(model, tmp_path, wire(model, LikesWord(), looks))
    assert (report.stopped, report.iterations) == (None, 10)
    assert "kept" not in report.history[-1]
    assert sorted(p.name for p in looks.iterdir()) == ["looks.json", "policy-0010"], "the best is the last"


class Late(LikesWord):
    """Shares the reward's taste up to a point, then finds it overdone."""

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        share = super().score(prompts, answers).members
        members = share.where(share <= 0.7, 2.1 - 2 * share)
        return RewardScores(members.mean(1), members.std(1, correction=0), members)


def test_what_was_good_before_it_was_overdone_is_kept(tmp_path: Path) -> None:
    """No model: policies are folders named by the share of the word that they say."""

    class Says:
        def sample(self, adapter: Path | None, prompts: Any, *, n: int, **how: Any) -> Any:
            assert adapter is not None
            share = int(adapter.name)
            rng = np.random.default_rng(share)
            return [[_rollout(share, rng) for _ in range(n)] for _ in prompts]

    def policy(share: int) -> Path:
        folder = tmp_path / "policies" / str(share)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    taste = judge(Late())
    wire = JudgeTripwire(taste, LikesWord(), PROMPTS, Says(), CONFIG, tmp_path / "looks")
    shares = [2, 9, 5, 9, 10]
    said = [wire.look(n, 4, lambda n=n: policy(shares[n])) for n in (0, 1, 2, 3)]
    assert said == [None, None, None, None]
    again = JudgeTripwire(taste, LikesWord(), PROMPTS, Says(), CONFIG, tmp_path / "looks")

    def never() -> Path:
        raise AssertionError("what was looked at before a kill is not looked at again")

    assert again.look(2, 4, never) is None
    told = again.look(4, 4, lambda: policy(10))
    assert told is not None
    assert told.startswith("reward hacking: from iteration 2 to 4")
    assert again.good() == (2, tmp_path / "looks" / "policy-0002")
    assert again.look(4, 4, never) == told


def _rollout(share: int, rng: np.random.Generator) -> Rollout:
    words = ["thanks" if rng.random() < share / 10 else "late" for _ in range(10)]
    return Rollout([1], [-1.0], True, " ".join(words))


def test_a_judge_that_may_know_nothing_stops_nobody(model: PolicyModel, tmp_path: Path) -> None:
    engine = TransformersSampler(model)

    def made(judge: Judge | None, prompts: Sequence[Sequence[int]] = PROMPTS) -> JudgeTripwire | None:
        config = replace(CONFIG, min_prompts=12)
        return tripwire_of(judge, LikesWord(), prompts, engine, config, tmp_path)

    assert made(judge(LikesWord())) is not None
    assert made(judge(LikesWord(), agreement=0.5)) is None
    assert made(judge(LikesWord())._replace(labels=3)) is None
    assert made(judge(LikesWord()), PROMPTS[:5]) is None
    assert made(None) is None
