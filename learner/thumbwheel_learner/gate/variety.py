"""Whether a policy says good things in fewer ways than before: what a loop that learns from itself loses unnoticed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy's stubs leave the element type of comparisons open)

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, Estimate, bootstrap
from thumbwheel_learner.rollouts.engine import Rollout


class Variety(NamedTuple):
    """Different token pairs in the answers to one prompt, as a share of all their token pairs, from 0 to 1."""

    live: float
    candidate: float
    change: Estimate
    """Candidate minus live, prompt by prompt."""


def variety_of(
    prompts: Sequence[Sequence[int]],
    live: Sequence[Sequence[Rollout]],
    candidate: Sequence[Sequence[Rollout]],
    scores: tuple[Array, Array],
    line: float,
    *,
    resamples: int,
    seed: int,
) -> Variety:
    """Distinct-2 (Li et al. 2016, arXiv:1510.03055) by prompt, where both policies gave two or more answers and good
    ones alone: `scores` [P, n] of live and candidate are all at `line` or above.

    Two wrong answers differ by being about different things; whoever learns what to talk about loses that, and should.
    """
    known = [n for n in range(len(prompts)) if len(live[n]) > 1 and all((s[n] >= line).all() for s in scores)]
    if not known:
        nan = float("nan")
        return Variety(nan, nan, Estimate(nan, nan, nan, 0))
    old, new = (np.array([_distinct_pairs(side[n]) for n in known]) for side in (live, candidate))
    gain = new - old
    asked = [tuple(prompts[n]) for n in known]
    change = bootstrap(lambda i: float(gain[i].mean()), asked, resamples=resamples, seed=seed)
    return Variety(float(old.mean()), float(new.mean()), change)


def _distinct_pairs(answers: Sequence[Rollout]) -> float:
    pairs = [pair for answer in answers for pair in pairwise(answer.token_ids)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0
