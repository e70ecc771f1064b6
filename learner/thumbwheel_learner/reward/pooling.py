"""From the states of a sequence to what a head reads of its answer."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import torch
from torch import Tensor

from thumbwheel_learner.model.tokens import Batch
from thumbwheel_learner.reward.config import Pooling


def pooled(hidden: Tensor, batch: Batch, pooling: Pooling) -> Tensor:
    """[K, B, T, D] -> [K, B, D or 2 D], the state at the end token, the mean over the answer, or both in this order."""
    parts: list[Tensor] = []
    if pooling != "mean":
        parts.append(hidden[:, torch.arange(len(batch.last)), batch.last])
    if pooling != "last":
        parts.append(_mean_over_answers(hidden, batch))
    return torch.cat(parts, dim=-1)


def _mean_over_answers(hidden: Tensor, batch: Batch) -> Tensor:
    """[K, B, T, D] -> [K, B, D], over the tokens of each answer (the columns after the ones that predict them)."""
    weights = torch.zeros(batch.ids.shape, device=hidden.device)
    weights[batch.rows, batch.columns + 1] = 1.0
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("kbtd,bt->kbd", hidden, weights)
