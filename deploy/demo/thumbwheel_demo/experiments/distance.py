"""How far one policy is from another."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path

import torch

from thumbwheel_learner.model.policy import PolicyModel

BATCH_TOKENS = 2048
"""Padded tokens per forward pass."""


@torch.no_grad()
def kl_between(
    model: PolicyModel,
    policy: Path | None,
    other: Path | None,
    asked: Sequence[list[int]],
    said: Sequence[list[int]],
    temperature: float = 1.0,
) -> float:
    """Mean KL(policy ‖ other) per answer, nats: exact over the vocabulary along the policy's own answers, at the
    temperature at which both are sampled from."""
    names: list[list[str]] = []
    for name, folder in (("measured", policy), ("compared", other)):
        if folder is not None:
            model.load(name, folder)
        names.append([] if folder is None else [name])
    total = 0.0
    size = max(1, BATCH_TOKENS // max(len(p) + len(a) for p, a in zip(asked, said, strict=True)))
    for start in range(0, len(asked), size):
        batch = model.batch(asked[start : start + size], said[start : start + size])
        mine, others = (model.states_under(of, batch) for of in names)
        total += float(model.token_kl(mine, others, temperature).sum())
    return total / len(asked)
