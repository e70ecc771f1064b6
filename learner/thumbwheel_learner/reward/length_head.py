"""A reward that owes nothing to length: beside the quality head each member learns a head for length, which is then
thrown away (ODIN; Chen et al. 2024, arXiv:2402.07319). Off unless `RewardConfig.length_head` is set.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from thumbwheel_learner.reward.labels import Row

REMEMBERED = 512
"""Rows of earlier steps that correlations are taken over, too: a step alone holds too few, and of similar length."""
FEWEST = 32
"""With fewer rows than this a correlation says nothing."""


class HeardLength(NamedTuple):
    """What some members' heads say of some rows; no gradient flows through what is remembered."""

    members: slice
    quality: Tensor
    """[K, N]"""
    length: Tensor
    """[K, N]"""
    tokens: Tensor
    """[N] of each answer."""


class LengthHead:
    """One head for length per member, and what both heads said of the newest rows."""

    def __init__(self, members: int, width: int, generator: torch.Generator) -> None:
        """Heads as small as the quality heads are at first."""
        self.head = nn.Parameter(0.1 * torch.randn(members, width, generator=generator) / width**0.5)
        self._members = members
        self._past: list[deque[Tensor]] = [deque() for _ in range(members)]

    def read(self, features: Tensor, quality: Tensor, rows: Sequence[Row], members: slice) -> HeardLength:
        """From features [K, N, F] and quality scores [K, N] of these members; differentiable."""
        tokens = torch.tensor([float(len(row.answer)) for row in rows])
        return HeardLength(members, quality, torch.einsum("knf,kf->kn", features, self.head[members]), tokens)

    def loss(self, heard: HeardLength, quality_head: Tensor) -> Tensor:
        """Sum over these members of |ρ(quality, length)| − ρ(length head, length) + |cos(quality head, length head)|.

        ρ is Pearson's, over these rows and the remembered ones, through which no gradient flows. The paper normalises
        both heads' weights and takes |w_Q · w_L|: the cosine.
        """
        cosines = cosine_similarity(quality_head, self.head[heard.members], dim=1)
        total = cosines.abs().sum()
        for at, member in enumerate(range(self._members)[heard.members]):
            now = torch.stack([heard.quality[at], heard.length[at], heard.tokens])
            rows = torch.cat([*self._past[member], now], dim=1)
            if rows.shape[1] < FEWEST:
                continue
            quality, length = pearson(rows[0], rows[2]), pearson(rows[1], rows[2])
            total = total + quality.abs() - length
        return total

    def remember(self, heard: HeardLength) -> None:
        """Keep what was said, and forget what is older than `REMEMBERED` rows."""
        for at, member in enumerate(range(self._members)[heard.members]):
            past = self._past[member]
            past.append(torch.stack([heard.quality[at], heard.length[at], heard.tokens]).detach())
            while sum(step.shape[1] for step in past) - past[0].shape[1] >= REMEMBERED:
                past.popleft()

    def level(self) -> Tensor:
        """[K] mean of what the length heads said of late: what a thumb's bias takes over when they are dropped."""
        said = [torch.cat([step[1] for step in past]) if past else torch.zeros(1) for past in self._past]
        return torch.stack([one.mean() for one in said])


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Correlation of [N] and [N]; differentiable, 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (x.square().sum() * y.square().sum()).clamp(min=1e-12).sqrt()
