"""How far a candidate has drifted from the live policy and the base, and what its answers look like."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of torch and numpy are partial; what leaves this file is typed)

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from thumbwheel_learner.model.policy import PolicyModel
from thumbwheel_learner.model.tokens import by_length
from thumbwheel_learner.rollouts.engine import Rollout

CANDIDATE, LIVE = "gate_candidate", "gate_live"
MIN_FINISHED = 10
"""Answers a mean length is taken of."""


@torch.no_grad()
def distances(
    model: PolicyModel,
    live: Path | None,
    candidate: Path,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Rollout]],
    temperature: float,
    *,
    batch_tokens: int,
    most: int,
) -> tuple[float, float]:
    """KL(candidate ‖ live) and KL(candidate ‖ base) in nats per answer, along the candidate's first answers.

    Exact over the vocabulary at every token, summed: see `PolicyModel.token_kl`.
    """
    model.load(CANDIDATE, candidate)
    if live is not None:
        model.load(LIVE, live)
    totals = torch.zeros(2)
    asked, said = [list(p) for p in prompts[:most]], [row[0].token_ids for row in answers[:most]]
    for group in by_length([len(p) + len(a) for p, a in zip(asked, said, strict=True)], batch_tokens):
        batch = model.batch([asked[i] for i in group], [said[i] for i in group])
        own = model.states_under([CANDIDATE], batch)
        others = (model.states_under(names, batch) for names in ([LIVE] if live is not None else [], []))
        totals += torch.stack([model.token_kl(own, other, temperature).sum().cpu() for other in others])
    for name in (CANDIDATE, LIVE):
        model.remove(name)
    kl, kl_base = (totals / max(1, len(asked))).tolist()
    return kl, kl_base


def length_ratio(live: Sequence[Rollout], candidate: Sequence[Rollout]) -> float:
    """Tokens per answer, candidate over live, among those that came to their end: where the others would, nobody knows.

    1 when hardly any did on one of the sides, as with a base model that was never taught to stop.
    """
    sides = [[len(r.token_ids) for r in side if r.finished] for side in (live, candidate)]
    if min(map(len, sides)) < MIN_FINISHED:
        return 1.0
    return float(np.mean(sides[1]) / np.mean(sides[0]))


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
