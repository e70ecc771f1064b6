"""What the bare base makes of answers, as plain numbers: for what has to be judged without a reward model."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from thumbwheel_learner.measures import Array
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.reading import read_rows
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

    def read(some: list[Row]) -> list[Tensor]:
        batch = batch_of(some, model.tokens.pad_id)
        below = model.states_below(batch, lower) if model.resumes_at(lower) else None
        return list(torch.cat([likelihoods(model, batch, lower, below), base.read(some, batch, below)], dim=1))

    found = read_rows(model, rows, read)
    out = torch.stack(found) if found else torch.zeros(0, 0)
    return cast(Any, out).double().numpy()
