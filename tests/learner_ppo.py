"""A small PPO run: its configuration, its prompts, and a planted reward."""

from collections.abc import Sequence

import torch

from thumbwheel_learner.model.lora import LoraConfig
from thumbwheel_learner.ppo.config import PpoConfig
from thumbwheel_learner.reward.model import RewardScores

SMALL = PpoConfig(
    lora=LoraConfig(4, 8),
    iterations=3,
    prompts_per_iteration=24,
    answers_per_prompt=1,
    max_tokens=6,
    minibatch_answers=8,
    learning_rate=1e-2,
    kl_target=2.0,
)
PROMPTS = [[2, a, b, 4, 3] for a in range(5, 11) for b in range(5, 9)]


class LikesWord:
    """A planted reward: the share of words that are the wanted one."""

    def __init__(self, word: str = "thanks", members: int = 2) -> None:
        self.word = word
        self.members = members

    def score(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> RewardScores:
        shares = [a.split().count(self.word) / max(1, len(a.split())) for a in answers]
        members = torch.tensor(shares)[:, None].repeat(1, self.members)
        return RewardScores(members.mean(1), members.std(1, correction=0), members)

    def identity(self) -> str:
        return self.word
