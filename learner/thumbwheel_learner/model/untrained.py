"""Tokens that a base model never learned: pretraining left their vectors where they began, all in one place."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

import torch
from torch import Tensor

ALIKE = 0.9
"""Cosine above which two tokens' output vectors count as twins; trained ones were seen up to 0.8 (Gemma 3 270M)."""
MANY = 16


@torch.no_grad()
def is_untrained(head: Tensor, token: int) -> bool:
    """Whether the output vector of `token` has many twins in `head` [V, D].

    An adapter on the projections cannot make a model say such a token rather than its twins. The turn markers of base
    models are the common case: `<end_of_turn>` of Gemma 3 270M has 6,441 twins, its `<eos>` none.
    """
    if not 0 <= token < len(head):
        return True
    vector = head[token].float()
    twins = 0
    for part in head.split(16_384):
        rows = part.float()
        cosine = (rows @ vector) / (rows.norm(dim=1) * vector.norm()).clamp_min(1e-12)
        twins += int((cosine > ALIKE).sum())
    return twins - 1 >= MANY
