"""Golden answers: what people said should have been said, in conversations that no policy was taught with."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from thumbwheel_learner.measures import Array, Estimate, bootstrap
from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import by_length
from thumbwheel_learner.reward.labels import Row, batch_of

ADAPTER = "gate_golden"


class Golden(NamedTuple):
    """How likely the corrected answers are, in nats per token."""

    live: float
    candidate: float
    change: Estimate
    """Candidate minus live, answer by answer; the interval is over prompts."""


def golden_answers(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    rows: Sequence[Row],
    *,
    batch_tokens: int,
    resamples: int,
    seed: int,
) -> Golden:
    """Mean log-likelihood per token of each corrected answer under both policies, at a temperature of 1, and the
    paired difference; each answer counts once, however long it is.
    """
    old, new = (_likelihoods(model, adapter, rows, batch_tokens) for adapter in (live, candidate))
    if not rows:
        nan = float("nan")
        return Golden(nan, nan, Estimate(nan, nan, nan, 0))
    gain = new - old
    prompts = [tuple(row.prompt) for row in rows]
    change = bootstrap(lambda i: float(gain[i].mean()), prompts, resamples=resamples, seed=seed)
    return Golden(float(old.mean()), float(new.mean()), change)


@torch.no_grad()
def _likelihoods(model: PolicyModel, adapter: Path | None, rows: Sequence[Row], batch_tokens: int) -> Array:
    if adapter is not None:
        model.load(ADAPTER, adapter)
    out = np.zeros(len(rows))
    with model.using(*([ADAPTER] if adapter is not None else [])):
        for group in by_length([len(row) for row in rows], batch_tokens):
            batch = batch_of([rows[i] for i in group], model.tokens.pad_id)
            told = batch.unflatten(model.score_answers(batch).logprobs.cpu())
            out[group] = (told.sum(dim=1) / batch.mask.sum(dim=1)).double().numpy()
    model.remove(ADAPTER)
    return out
