"""Attention-based credit: an answer's score spread over the words that the reward model looked at, as an option.

Chan et al. 2024, "Dense Reward for Free in Reinforcement Learning from Human Feedback" (arXiv:2402.00782). What is
kept and what is not: docs/algorithms/ppo.md.
"""

# pyright: reportUnknownMemberType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from thumbwheel_learner.errors import LearnerError


class NoAttention(LearnerError):
    """Credit by attention is wanted from a reward that cannot say which words it looked at."""


@runtime_checkable
class AttentiveScorer(Protocol):
    """A reward that can say what it looked at: `reward.RewardModel`."""

    def attention(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """Per answer [A] shares of its tokens, each at least 0, their sum 1."""
        ...


def attentive(reward: object) -> AttentiveScorer:
    """The same reward; raises `NoAttention` when it is of another kind."""
    if not isinstance(reward, AttentiveScorer):
        raise NoAttention(f"THUMBWHEEL_PPO_TOKEN_CREDIT: {type(reward).__name__} does not say which words it looked at")
    return reward


def at_the_end(mask: Tensor) -> Tensor:
    """[B, A] all of an answer's credit on its last token."""
    return torch.nn.functional.one_hot(mask.sum(dim=1) - 1, mask.shape[1]).float()


def by_attention(
    reward: AttentiveScorer,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    mask: Tensor,
    share: float,
) -> Tensor:
    """[B, A] credit that sums to 1 per answer: `share` of it by attention, the rest on the last token."""
    looked = torch.zeros(mask.shape)
    for row, shares in enumerate(reward.attention(prompts, answers)):
        looked[row, : len(shares)] = shares
    return share * looked + (1 - share) * at_the_end(mask)
