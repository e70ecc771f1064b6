"""The formulas of PPO as pure functions over padded [B, A] tensors, so that each can be checked by itself."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true entries of `mask`; 0 when there are none."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool) -> Tensor:
    """Unit variance over the masked entries; without `shift_mean` the mean stays where it was.

    Rewards are whitened without the shift: taking their mean away would change which answers are good on balance
    (Huang et al. 2024, arXiv:2403.17031; the TF code of Ziegler et al. 2019, arXiv:1909.08593).
    """
    mean = masked_mean(x, mask)
    scaled = (x - mean) * torch.rsqrt(masked_mean((x - mean).square(), mask) + 1e-8)
    return (scaled if shift_mean else scaled + mean) * mask


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438): (advantages, returns), both [B, A].

    `values[:, t]` is of the state before token t; after an answer's last token the value is 0, finished or cut.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        there = mask[:, t].to(rewards.dtype)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = there * (delta + gamma * lam * following)
        next_value = there * values[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def leave_one_out(scores: Tensor, n: int) -> Tensor:
    """[B] every score minus the mean of the other `n - 1` answers to its prompt, which follow each other in B.

    The baseline of RLOO (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740): unbiased, and no critic has to
    learn how hard each prompt is.
    """
    groups = scores.view(-1, n)
    return (scores - ((groups.sum(dim=1, keepdim=True) - groups) / (n - 1)).reshape(-1)) if n > 1 else scores


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float, credit: Tensor) -> Tensor:
    """[B, A] reward of every token: minus the KL term, and its share `credit` [B, A] of the answer's score."""
    return credit * scores[:, None] - kl_coef * kl * mask


def importance_weights(trained: Tensor, behaviour: Tensor, mask: Tensor, cap: float) -> Tensor:
    """[B, A] truncated importance weights min(exp(log π_train_old - log π_engine), cap), detached.

    They mend the mismatch between the engine that sampled and the model that trains (Yao et al. 2025, "Your efficient
    RL framework secretly brings you off-policy RL training"; truncation: Ionides 2008).
    """
    return torch.exp((trained - behaviour) * mask).clamp(max=cap).detach() * mask


@dataclass
class KlController:
    """Adaptive coefficient of the KL term, after Ziegler et al. 2019 (arXiv:1909.08593, section 2.2).

    Theirs falls without end while the policy is near, so that nothing holds one that then runs off after a mistake of
    the reward model, and rises as slowly. This one never asks less than it did at first, and rises up to five times as
    fast as it falls.
    """

    coef: float
    target: float
    """Nats per answer."""
    horizon: float
    """Answers after which the coefficient doubles at twice the target."""
    least: float = field(init=False)

    def __post_init__(self) -> None:
        """The first price is the lowest."""
        self.least = self.coef

    def update(self, kl: float, answers: int) -> None:
        """mult = 1 + clip(kl / target - 1, -0.2, 1) · n / horizon."""
        error = min(max(kl / self.target - 1, -0.2), 1.0)
        self.coef = max(self.least, self.coef * (1 + error * answers / self.horizon))
