"""Which words of an answer the reward model looked at, for credit by token (Chan et al. 2024, arXiv:2402.00782)."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence

import torch
from torch import Tensor

from thumbwheel_learner.model.attention import watching
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import READ_TOKENS, by_length
from thumbwheel_learner.reward.labels import Row, batch_of


@torch.no_grad()
def answer_attention(model: PolicyModel, names: tuple[str, ...], first_block: int, rows: Sequence[Row]) -> list[Tensor]:
    """[A] per row: the last block's attention from the answer's last token, where the score is read, to the answer's
    own tokens, as shares that sum to 1; the mean over heads and over the members `names`.

    Raises `UnsuitableModel` for an architecture that has no attention weights to show.
    """
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    with watching(model) as seen:

        def look(group: list[int]) -> Tensor:
            batch = batch_of([rows[i] for i in group], model.tokens.pad_id)
            with model.using(*names):
                model.hidden(batch, repeats=len(names), first_block=first_block)
            weights = seen.last().float().mean(1).view(len(names), len(group), *seen.last().shape[-2:]).mean(0).cpu()
            looked = batch.unflatten(weights[batch.rows, batch.last[batch.rows], batch.columns + 1])
            return looked / looked.sum(1, keepdim=True).clamp(min=1e-12)

        groups = list(by_length([len(row) for row in rows], READ_TOKENS))
        for group, shares in zip(groups, model.side_by_side.map(look, groups), strict=True):
            for i, share in zip(group, shares, strict=True):
                found[i] = share[: len(rows[i].answer)]
    return found
