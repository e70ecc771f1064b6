"""Whether a candidate is significantly worse at some one thing, many things being looked at."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of numpy and scipy are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from thumbwheel_learner.measures import Array

SCATTER = 1e-9


class Part(NamedTuple):
    """The judged win rate on some of the prompts."""

    name: str
    win_rate: float
    deviation: float
    """Standard error: over prompts, the judge's members, and the people whose votes calibrate it."""
    prompts: int
    p: float
    """Of a figure so low, if the candidate were as good here as the live policy; one-sided."""
    fell: bool
    """After the correction for how many parts there are."""


def part(name: str, win_rate: float, draws: Array, prompts: int) -> Part:
    """From the bootstrap's draws of the win rate; Student's t, since a part has few prompts.

    A bootstrap of n prompts has (n - 1) / n of their variance; that is made good.
    """
    known = draws[np.isfinite(draws)]
    deviation = float(known.std() * np.sqrt(prompts / (prompts - 1))) if prompts > 1 and len(known) else float("nan")
    if not deviation > SCATTER:
        return Part(name, win_rate, deviation, prompts, float(not win_rate < 0.5), fell=False)
    return Part(
        name, win_rate, deviation, prompts, float(student.cdf((win_rate - 0.5) / deviation, prompts - 1)), False
    )


def corrected(parts: Sequence[Part], significance: float) -> list[Part]:
    """Say which fell, wrongly of any with a chance of at most `significance` (Holm 1979)."""
    order = sorted(range(len(parts)), key=lambda n: parts[n].p)
    fell: set[int] = set()
    for rank, n in enumerate(order):
        if not parts[n].p < significance / (len(parts) - rank):
            break
        fell.add(n)
    return [p._replace(fell=n in fell) for n, p in enumerate(parts)]
