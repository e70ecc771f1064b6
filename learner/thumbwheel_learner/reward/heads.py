"""Heads alone on frozen features: the cheap reward model, for whatever can be computed of an answer beforehand.

Each member is a linear head or a small network plus a fixed random one that it has to overcome (Osband et al. 2018,
arXiv:1806.03335), trained on its own bootstrap of the groups. The learner's reward model on a frozen trunk is another
one: docs/algorithms/reward_model.md.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and scipy are partial; what leaves this file is typed)

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.measures import Array, Indices, fit_calibration, numbered, sigmoid

BOUND = 5.0
"""Standard deviations beyond which a feature says nothing more."""


class NothingToLearn(LearnerError):
    """No pair and no absolute label."""


@dataclass(frozen=True)
class HeadsConfig:
    """How heads are trained."""

    members: int = 8
    hidden: int = 32
    """Units of each member's hidden layer; 0 makes heads linear."""
    prior_scale: float = 1.0
    """Of the fixed random head, whose output has about this standard deviation; 0 leaves it out."""
    bootstrap: bool = True
    """Each member weighs groups by its own Poisson(1) draw."""
    weight_decay: float = 0.1
    """Half of it times the squared weights is added to the mean loss per label."""
    steps: int = 100
    """Over all labels at once."""
    learning_rate: float = 0.03
    centering: float = 0.01
    """Weight of (mean reward)^2: fixes the level that pairs leave free."""
    seed: int = 0


@dataclass(frozen=True)
class Labels:
    """What was said about answers, which are numbered as the rows of the features are."""

    pairs: Indices = field(default_factory=lambda: np.zeros((0, 2), dtype=np.intp))
    """[P, 2] preferred, other."""
    pair_groups: Sequence[Hashable] = ()
    """[P] user, prompt, conversation: what is drawn whole by a bootstrap."""
    answers: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """[J] answers with a word of their own."""
    liked: Array = field(default_factory=lambda: np.zeros(0))
    """[J] from 0 to 1."""
    answer_groups: Sequence[Hashable] = ()
    """[J]"""

    def __len__(self) -> int:
        return len(self.pairs) + len(self.answers)


@dataclass(frozen=True)
class Margins:
    """How much better the first of two answers is."""

    members: Array
    """[P, K] logits."""
    temperature: float

    @property
    def mean(self) -> Array:
        """[P] difference of the rewards."""
        return self.members.mean(axis=1)

    @property
    def stated(self) -> Array:
        """[P] calibrated probability that the first is preferred."""
        return sigmoid(self.mean / self.temperature)

    @property
    def disagreement(self) -> Array:
        """[P] from 0 to ½: the share of members to be expected on the other side than their mean, their logits taken
        as normally distributed.

        Not the logits' deviation: members that call a large difference large and larger agree about who is better.
        """
        spread = np.maximum(self.members.std(axis=1), 1e-12)
        return cast(Array, ndtr(-np.abs(self.mean) / spread))


class RewardHeads:
    """K members on F standardised features."""

    def __init__(self, features: Array, config: HeadsConfig) -> None:
        """Untrained; `features` [N, F] of the training answers fix what is usual."""
        self.config = config
        self.temperature = 1.0
        self._mean, self._std = features.mean(axis=0), features.std(axis=0)
        generator = torch.Generator().manual_seed(config.seed)
        self._head = _Member(features.shape[1], config, generator)
        self._head.silence()
        self._prior = _Member(features.shape[1], config, generator)
        for parameter in self._prior.parameters():
            parameter.requires_grad = False
        with torch.no_grad():
            spread = self._prior(self._standard(features)).std(dim=1, keepdim=True).clamp(min=1e-6)
        self._prior_scale = config.prior_scale / spread
        self.bias = nn.Parameter(torch.zeros(config.members, 1))
        """[K, 1] log-odds that an answer of reward 0 is liked."""

    def raw(self, standard: Tensor) -> Tensor:
        """[N, F] standardised -> [K, N] logits; differentiable."""
        return self._head(standard) + self._prior_scale * self._prior(standard)

    @torch.no_grad()
    def members(self, features: Array) -> Array:
        """[N, F] -> [N, K] rewards."""
        return cast(Any, self.raw(self._standard(features)).T.double()).numpy()

    def reward(self, features: Array) -> tuple[Array, Array]:
        """[N, F] -> [N] mean over members and [N] their standard deviation."""
        members = self.members(features)
        return members.mean(axis=1), members.std(axis=1)

    def margins(self, features: Array, pairs: Indices) -> Margins:
        """Of the first over the second of each of `pairs` [P, 2], which number rows of `features`."""
        members = self.members(features)
        return Margins(members[pairs[:, 0]] - members[pairs[:, 1]], self.temperature)

    def calibrate(self, features: Array, pairs: Indices) -> None:
        """Choose the temperature on pairs, the first preferred, that were not trained on (Guo et al. 2017)."""
        margin = self.margins(features, pairs).mean
        won = np.concatenate([np.ones(len(margin)), np.zeros(len(margin))])
        self.temperature = fit_calibration(np.concatenate([margin, -margin]), won).temperature

    def fit(self, features: Array, labels: Labels) -> float:
        """Train all members on all labels at once; returns the last mean loss. Raises `NothingToLearn`.

        Pairs by Bradley and Terry (1952), absolute words by logistic regression on reward + bias.
        """
        if len(labels) == 0:
            raise NothingToLearn("heads need a pair or an absolute label to learn from")
        config, standard = self.config, self._standard(features)
        weights = _bootstrap([*labels.pair_groups, *labels.answer_groups], config)
        first, second = (torch.from_numpy(labels.pairs[:, side]) for side in (0, 1))
        judged, liked = torch.from_numpy(labels.answers), torch.from_numpy(labels.liked).float()
        target = torch.cat([torch.ones(len(first)), liked]).expand(config.members, -1)
        trained = [*self._head.parameters(), self.bias]
        optimizer = torch.optim.Adam(trained, lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps + 1)
        prior = (self._prior_scale * self._prior(standard)).detach()
        last = 0.0
        for _ in range(config.steps):
            rewards = self._head(standard) + prior
            logits = torch.cat([rewards[:, first] - rewards[:, second], rewards[:, judged] + self.bias], dim=1)
            loss = (weights * binary_cross_entropy_with_logits(logits, target, reduction="none")).mean(dim=1).sum()
            level = config.centering * rewards.mean(dim=1).square().sum()
            decay = 0.5 * config.weight_decay * self._head.squared_weights()
            optimizer.zero_grad()
            (loss + level + decay).backward()
            optimizer.step()
            schedule.step()
            last = float(loss.detach()) / config.members
        return last

    def _standard(self, features: Array) -> Tensor:
        scaled = (features - self._mean) / np.where(self._std > 1e-9, self._std, 1.0)
        return torch.from_numpy(np.clip(scaled, -BOUND, BOUND)).float()


class _Member(nn.Module):
    """K linear heads or networks of one hidden layer side by side."""

    def __init__(self, width: int, config: HeadsConfig, generator: torch.Generator) -> None:
        super().__init__()

        def normal(*shape: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) / fan**0.5)

        k, hidden = config.members, config.hidden
        self.linear = normal(k, width, fan=width)
        self.inner = normal(k, width, hidden, fan=width) if hidden else None
        self.shift = nn.Parameter(torch.zeros(k, 1, hidden)) if hidden else None
        self.outer = normal(k, hidden, fan=hidden) if hidden else None

    @torch.no_grad()
    def silence(self) -> None:
        """Begin at 0 everywhere: members differ by their priors and bootstraps, not by where training stopped."""
        for last in (self.linear, self.outer):
            if last is not None:
                last.zero_()

    def forward(self, standard: Tensor) -> Tensor:
        """[N, F] -> [K, N]"""
        out = torch.einsum("nf,kf->kn", standard, self.linear)
        if self.inner is None or self.shift is None or self.outer is None:
            return out
        inner = torch.tanh(torch.einsum("nf,kfh->knh", standard, self.inner) + self.shift)
        return out + torch.einsum("knh,kh->kn", inner, self.outer)

    def squared_weights(self) -> Tensor:
        """Sum over members."""
        return torch.stack([w.square().sum() for w in (self.linear, self.inner, self.outer) if w is not None]).sum()


def _bootstrap(groups: Sequence[Hashable], config: HeadsConfig) -> Tensor:
    """[K, labels] how heavy each label is to each member: Poisson(1) by group (Oza 2005), mean 1."""
    if not config.bootstrap or config.members == 1:
        return torch.ones(config.members, len(groups))
    which = numbered(groups)
    rng = np.random.default_rng(config.seed)
    drawn = rng.poisson(1.0, (config.members, int(which.max()) + 1))[:, which].astype(np.float64)
    drawn[drawn.sum(axis=1) == 0] = 1.0
    return torch.from_numpy(drawn / drawn.mean(axis=1, keepdims=True)).float()
