"""What the bare base makes of answers, as plain numbers: for what has to be judged without a reward model."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from thumbwheel_learner.measures import Array
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import READ_TOKENS, by_length
from thumbwheel_learner.reward.config import RewardConfig
from thumbwheel_learner.reward.frozen_trunk import BareBase
from thumbwheel_learner.reward.labels import Row, batch_of
from thumbwheel_learner.reward.likelihood import likelihoods


@torch.no_grad()
def read_frozen(model: PolicyModel, rows: Sequence[Row]) -> Array:
    """[N, F] how likely the answer is, then the state at the end token and the mean over the answer, of the block where
    the reward model's adapters begin and of the last one: what its heads read, without adapters."""
    lower = model.blocks.above(RewardConfig.adapted_blocks)
    base = BareBase(model, lower)

    def read(group: list[int]) -> Tensor:
        mine = [rows[i] for i in group]
        batch = batch_of(mine, model.tokens.pad_id)
        below = model.states_below(batch, lower) if model.resumes_at(lower) else None
        return torch.cat([likelihoods(model, batch, lower, below), base.read(mine, batch, below)], dim=1)

    groups = list(by_length([len(row) for row in rows], READ_TOKENS))
    parts = model.side_by_side.map(read, groups)
    out = torch.zeros(len(rows), parts[0].shape[1] if parts else 0)
    for group, features in zip(groups, parts, strict=True):
        out[group] = features
    return cast(Any, out).double().numpy()
