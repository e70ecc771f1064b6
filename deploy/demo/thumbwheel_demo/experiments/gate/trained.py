"""Candidates that really learned: PPO on a reward model's scores with their sign turned round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from thumbwheel_demo.experiments.gate.desk import Desk
from thumbwheel_demo.satisfaction import judge
from thumbwheel_learner.gate.config import GateConfig
from thumbwheel_learner.gate.evaluate import judge_gate
from thumbwheel_learner.gate.exam import make_exam
from thumbwheel_learner.gate.verdict import Verdict
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import AnswerScorer, train_ppo
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import DESCRIPTION, RewardScores, load_reward
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.engine import RolloutEngine
from thumbwheel_learner.rollouts.sampler import TransformersSampler
from thumbwheel_learner.runs.jobs import prompts_to_practise

ITERATIONS = 4
PROMPTS = 150
"""Of the gate, whose answers are sampled anew for each."""


class Negated:
    """A reward model that praises what it would blame."""

    def __init__(self, inner: AnswerScorer) -> None:
        self._inner = inner

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """See `AnswerScorer.score`."""
        scores = self._inner.score(prompts, answers)
        return RewardScores(-scores.mean, scores.std, -scores.members)

    def identity(self) -> str:
        """See `AnswerScorer.identity`."""
        return f"negated {self._inner.identity()}"


@dataclass(frozen=True)
class Tried:
    """A trained candidate at the gate."""

    verdict: Verdict
    satisfied: tuple[float, float]
    """Share of customers, live and candidate, by one sampled answer to each of the gate's prompts."""
    kl: float
    """To the live policy as PPO measured it, nats per answer."""


def negated_policy(model: PolicyModel, desk: Desk, number: int, folder: Path) -> tuple[Path, float]:
    """Train one on the desk's training half and return it with its KL; what an earlier call has finished is read.

    All candidates of a desk share its reward model; their rollouts differ.
    """
    training, where = desk.evidence.training, folder / "reward"
    if (where / DESCRIPTION).is_file():
        reward = load_reward(model, where)
    else:
        reward, _ = train_reward(model, training, RewardConfig(seed=number), where)
    config = PpoConfig(iterations=ITERATIONS, seed=number)
    mine = folder / f"negated-{number}"
    adapter, report = train_ppo(
        model,
        None,
        Negated(reward),
        prompts_to_practise(model.tokens, training.prompts),
        TransformersSampler(model),
        config,
        mine / "adapter",
        work=mine / "work",
    )
    return adapter, report.kl


def try_negated(model: PolicyModel, desk: Desk, number: int, config: GateConfig, folder: Path) -> Tried:
    """Train one and put it before the gate, which samples from both policies itself."""
    adapter, kl = negated_policy(model, desk, number, folder)
    drawn, engine = replace(config, seed=number, prompts=min(config.prompts, PROMPTS)), TransformersSampler(model)
    exam = make_exam(model, desk.evidence.judge, drawn)
    verdict = judge_gate(model, None, adapter, desk.judge, exam, engine, drawn, disjoint=desk.evidence.disjoint)
    live, candidate = (_satisfied(desk, engine, policy, exam.prompts, drawn) for policy in (None, adapter))
    return Tried(verdict, (live, candidate), kl)


def _satisfied(
    desk: Desk, engine: RolloutEngine, policy: Path | None, prompts: Sequence[Sequence[int]], config: GateConfig
) -> float:
    said = engine.sample(
        policy, prompts, n=1, max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed
    )
    asked = [desk.scenarios[tuple(p)] for p in prompts]
    return fmean(judge(scenario, row[0].text).satisfied for scenario, row in zip(asked, said, strict=True))
