"""How far a candidate has drifted from the live policy and the base, and what its answers look like."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thumbwheel_learner.model import PolicyModel
from thumbwheel_learner.rollout import Rollout
from thumbwheel_learner.tokens import Batch, make_batch

CANDIDATE, LIVE = "gate_candidate", "gate_live"
MOST_LOGITS = 1 << 25
"""Logits that are held at once and policy: 128 MiB."""


@torch.no_grad()
def distances(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Rollout]],
    temperature: float,
    most: int = 64,
) -> tuple[float, float]:
    """KL(candidate ‖ live) and KL(candidate ‖ base) in nats per answer, along the candidate's first answers.

    Exact over the vocabulary at every token, summed: an estimate from the sampled tokens alone hangs on the one token
    that the candidate finds a thousand times likelier than the other policy does.
    """
    model.load(CANDIDATE, candidate)
    if live is not None:
        model.load(LIVE, live)
    totals = torch.zeros(2)
    asked, said = [list(p) for p in prompts[:most]], [row[0].token_ids for row in answers[:most]]
    vocabulary = int(model.base.get_input_embeddings().weight.shape[0])
    size = max(1, MOST_LOGITS // (vocabulary * max(map(len, said), default=1)))
    for start in range(0, len(asked), size):
        batch = make_batch(asked[start : start + size], said[start : start + size], pad_id=model.tokens.pad_id)
        own, of_live, of_base = (
            _distribution(model, batch, names, temperature)
            for names in ((CANDIDATE,), (LIVE,) if live is not None else (), ())
        )
        totals += torch.stack([(own.exp() * (own - other)).sum().cpu() for other in (of_live, of_base)])
    for name in (CANDIDATE, LIVE):
        model.remove(name)
    kl, kl_base = (totals / max(1, len(asked))).tolist()
    return kl, kl_base


def _distribution(model: PolicyModel, batch: Batch, names: tuple[str, ...], temperature: float) -> Tensor:
    """[N, V] log-probabilities of every token at every answer position."""
    with model.using(*names):
        return torch.log_softmax(model.logits(model.answer_states(model.hidden(batch), batch)) / temperature, dim=-1)


def mean_length(answers: Sequence[Rollout]) -> float:
    """Tokens per answer."""
    return float(np.mean([len(r.token_ids) for r in answers]))


def missing_end(answers: Sequence[Rollout]) -> float:
    """Share of answers that were cut off."""
    return float(np.mean([not r.finished for r in answers]))


def distinct(answers: Sequence[Rollout]) -> float:
    """Share of different texts among the answers."""
    return len({r.text for r in answers}) / len(answers)


def repeating(answers: Sequence[Rollout]) -> float:
    """Share of answers in which some four words come twice in a row of four."""
    repeating = 0
    for answer in answers:
        words = answer.text.lower().split()
        grams = list(zip(*(words[i:] for i in range(4)), strict=False))
        repeating += len(set(grams)) < len(grams)
    return repeating / len(answers)
