"""A reward that still tells answers apart when the policy has moved: before each step the weights take one step towards
telling the current policy's unlabelled answers apart, the labels' gradient is taken there, and applied to the weights
as they were (MetaRM; Dou et al. 2024, arXiv:2405.00438). Off unless `RewardConfig.meta_rate` is set.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import fit
from thumbwheel_learner.model.trunk import Trunk
from thumbwheel_learner.reward.labels import Row
from thumbwheel_learner.reward.likelihood import KnownLikelihoods
from thumbwheel_learner.reward.model import ALL, RewardModel
from thumbwheel_learner.rollouts.engine import RolloutEngine

PROMPTS, ANSWERS = 150, 4
"""Of the current policy's answers: how many prompts, and how many answers to each."""
MAX_TOKENS = 64
AT_ONCE = 2
"""Prompts whose answers one step is taken on."""


class MetaStep:
    """Moves a reward model's adapters and heads, and puts them back."""

    def __init__(
        self, reward: RewardModel, shifted: Sequence[Sequence[Row]], rate: float, generator: torch.Generator
    ) -> None:
        """`shifted`: answers of the current policy, two or more to a prompt; `rate` is η, 0 or without answers: off."""
        config = reward.config
        self._reward, self._rate, self._generator = reward, rate, generator
        self._prompts = [list(rows) for rows in shifted if len(rows) > 1] if rate else []
        rows = [row for answers in self._prompts for row in answers]
        self._trunk = Trunk(reward.model, reward.first_block, rows, config.trunk_bytes)
        heard = config.likelihood and rows
        self._known = KnownLikelihoods(reward.model, rows, self._trunk, reward.first_block) if heard else None
        adapters = [p for name in reward.names for p in reward.model.parameters(name)]
        self._weights: list[nn.Parameter] = [*adapters, reward.head, reward.likelihood_head]
        self._order: list[int] = []

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Inside, θ' = θ + η ∂J/∂θ; outside, θ, whatever was done with gradients meanwhile."""
        if not self._prompts:
            yield
            return
        before = [weight.detach().clone() for weight in self._weights]
        apart = self._difference().sum()
        gradients = torch.autograd.grad(apart, self._weights, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for weight, gradient in zip(self._weights, gradients, strict=True):
                weight.add_(gradient, alpha=self._rate)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, old in zip(self._weights, before, strict=True):
                    weight.copy_(old)

    def _difference(self) -> Tensor:
        """[K] J on the next few prompts, in an order drawn anew when all have had their turn."""
        if len(self._order) < min(AT_ONCE, len(self._prompts)):
            self._order = torch.randperm(len(self._prompts), generator=self._generator).tolist()
        drawn = [self._prompts[self._order.pop()] for _ in range(min(AT_ONCE, len(self._prompts)))]
        rows = [row for answers in drawn for row in answers]
        trunk = self._trunk if self._trunk.holds(rows) else None
        scores = self._reward.raw(rows, trunk, ALL, self._known.of(rows) if self._known else None)
        parts = scores.split([len(answers) for answers in drawn], dim=1)
        return torch.stack([difference(part) for part in parts]).mean(dim=0)


def difference(scores: Tensor) -> Tensor:
    """[K, k] scores of k answers to one prompt -> [K] J = 2/k² Σ_{i<j} σ(|r_i − r_j|), MetaRM's difference loss."""
    k = scores.shape[1]
    first, second = torch.triu_indices(k, k, offset=1)
    return torch.sigmoid((scores[:, first] - scores[:, second]).abs()).sum(dim=1) * 2 / k**2


def sample_shifted(
    model: PolicyModel,
    engine: RolloutEngine,
    adapter: Path | None,
    prompts: Sequence[Sequence[int]],
    max_length: int,
    seed: int,
) -> list[list[Row]]:
    """Answers of the current policy to some of these prompts, as rows of at most `max_length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(len(prompts), generator=generator).tolist()
    drawn = [prompts[i] for i in order[:PROMPTS]]
    said = engine.sample(adapter, drawn, n=ANSWERS, max_tokens=MAX_TOKENS, temperature=1.0, seed=seed)
    return [
        [Row(*fit(list(prompt), model.tokens.answer_ids(answer.text), max_length)) for answer in answers]
        for prompt, answers in zip(drawn, said, strict=True)
    ]
