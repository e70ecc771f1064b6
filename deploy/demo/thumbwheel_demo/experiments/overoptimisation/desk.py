"""One seed of the over-optimisation experiment: people who often vote by mistake, and the reward learned from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec import Struct

from thumbwheel_demo.corpus import Scenario, prompts
from thumbwheel_demo.experiments.chats import prompt_ids, snapshot_of
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_learner.dataset.examples import Snapshot
from thumbwheel_learner.model.adapters import BadAdapter
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.ppo.train import AnswerScorer
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.model import RewardModel, RewardScores, load_reward
from thumbwheel_learner.reward.training import train_reward
from thumbwheel_learner.rollouts.sampler import TransformersSampler

HELD_OUT_SEED = 7
BATCH = 256
"""Answers sampled side by side."""


class Plan(Struct, frozen=True, kw_only=True):
    """What every seed does; lengths in tokens."""

    chats: int = 60
    """All of them are voted on: so many thumbs."""
    noise: float = 0.25
    """Share of the thumbs that say the opposite of what their giver thinks."""
    members: int = 4
    bootstrap: bool = True
    prior_scale: float = 3.0
    """As `RewardConfig`: what makes members differ."""
    pessimism: float = 1.0
    """Standard deviations over the members that the ensemble's score lies below their mean."""
    judgements: int = 2000
    iterations: int = 48
    every: int = 3
    """Iterations from one measurement to the next."""
    held_out: int = 117
    """Prompts on which gold, proxy and KL are measured, three of each topic."""
    prompts_per_iteration: int = 16
    answers_per_prompt: int = 8
    epochs: int = 1
    minibatch_answers: int = 16
    learning_rate: float = 0.012
    final_learning_rate: float = 1.0
    kl_target: float = PpoConfig.kl_target
    """Of the arms with KL, nats per answer."""
    max_tokens: int = PpoConfig.max_tokens


@dataclass(frozen=True)
class Desk:
    """What the arms of one seed share."""

    reward: RewardModel
    auc: float | None
    """Of the ensemble, on the newest thumbs, which it was not taught; None where these are all alike."""
    practised: list[list[int]]
    """Token ids of the chats that people voted on."""
    held_out: list[Scenario]


def open_desk(model: PolicyModel, plan: Plan, seed: int, folder: Path) -> Desk:
    """Let people chat with the demo policy and vote, train the ensemble on that; read it where a call before did."""
    chats = prompts("live", plan.chats, seed)
    asked = [prompt_ids(model, s) for s in chats]
    try:
        reward = load_reward(model, folder)
    except BadAdapter:
        config = RewardConfig(
            members=plan.members,
            judgements=plan.judgements,
            bootstrap=plan.bootstrap,
            prior_scale=plan.prior_scale,
            seed=seed,
        )
        reward, _ = train_reward(model, labels(model, plan, seed, chats, asked), config, folder)
    return Desk(reward, reward.report["auc"]["mean"], asked, prompts("heldout", plan.held_out, HELD_OUT_SEED))


def labels(
    model: PolicyModel, plan: Plan, seed: int, chats: Sequence[Scenario], asked: Sequence[list[int]]
) -> Snapshot:
    """A thumb on one answer to every chat."""
    people = PeopleSettings(seed=seed, noise=plan.noise, votes=1.0, annoyed=1.0, corrections=0.0)
    sampler = TransformersSampler(model, batch_size=BATCH)
    said = sampler.sample(None, asked, n=1, max_tokens=plan.max_tokens, temperature=1.0, seed=seed)
    return snapshot_of(chats, [row[0] for row in said], asked, people)


class OneMember:
    """A member of an ensemble alone: the same training, labels and scale, and nobody to disagree with."""

    def __init__(self, ensemble: AnswerScorer, member: int) -> None:
        self._ensemble, self._member = ensemble, member

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        """See `ppo.train.AnswerScorer`; the standard deviation is 0."""
        alone = self._ensemble.score(prompts, answers).members[:, self._member]
        return RewardScores(alone, torch.zeros_like(alone), alone[:, None])

    def identity(self) -> str:
        """The ensemble's, and which of it."""
        return f"{self._ensemble.identity()}-{self._member}"
