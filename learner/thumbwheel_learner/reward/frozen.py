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
from thumbwheel_learner.reward.labels import Row, batch_of
from thumbwheel_learner.reward.likelihood import likelihoods
from thumbwheel_learner.reward.model import pooled


@torch.no_grad()
def read_frozen(model: PolicyModel, rows: Sequence[Row]) -> Array:
    """[N, F] how likely the answer is, then the state at the end token and the mean over the answer, of the block where
    the reward model's adapters begin and of the last one: what its heads read, without adapters."""
    lower = model.blocks.above(RewardConfig.adapted_blocks)
    first_block = lower if model.resumes_at(lower) else 0

    def read(group: list[int]) -> Tensor:
        batch = batch_of([rows[i] for i in group], model.tokens.pad_id)
        states_there = model.states_below(batch, lower)
        below = states_there if first_block else None
        with model.using():
            layers = [states_there, model.hidden(batch, first_block=first_block, below=below)]
        found = [likelihoods(model, batch, first_block, below)]
        found += [pooled(states[None].float(), batch, "both")[0].cpu() for states in layers]
        return torch.cat(found, dim=1)

    groups = list(by_length([len(row) for row in rows], READ_TOKENS))
    parts = model.side_by_side.map(read, groups)
    out = torch.zeros(len(rows), parts[0].shape[1] if parts else 0)
    for group, features in zip(groups, parts, strict=True):
        out[group] = features
    return cast(Any, out).double().numpy()
