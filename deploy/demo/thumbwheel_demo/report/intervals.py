"""Intervals over prompts: the prompt is drawn anew, since answers to one prompt resemble each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.report.record import Interval

RESAMPLES = 4000
SEED = 20_011

PerPrompt = Mapping[str, float]
"""Mean satisfaction by prompt id."""


class NotPaired(ValueError):
    """The two sides were not measured on the same prompts."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean with a 95% percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13); `values` one per prompt.

    Raises `ValueError` without values.
    """
    if not values:
        raise ValueError("no values to average")
    return pooled_interval([values])


def pooled_interval(strata: Sequence[Sequence[float]]) -> Interval:
    """Mean of the strata's means (seeds, say), its 95% bootstrap interval redrawing prompts inside each stratum."""
    rng = np.random.default_rng(SEED)
    means = np.zeros(RESAMPLES)
    for stratum in strata:
        column = np.asarray(stratum, dtype=np.float64)
        picks = rng.integers(0, len(column), size=(RESAMPLES, len(column)))
        means += column[picks].mean(axis=1) / len(strata)
    low, high = np.quantile(means, (0.025, 0.975))
    point = float(np.mean([np.mean(stratum) for stratum in strata]))
    return Interval(mean=point, low=float(low), high=float(high))


def crossed_interval(values: NDArray[np.float64]) -> Interval:
    """Mean of [seeds, prompts] with a 95% percentile bootstrap that redraws seeds and prompts both, since all seeds
    share their prompts (Owen 2007, *The pigeonhole bootstrap*, arXiv:0712.1111)."""
    rng = np.random.default_rng(SEED)
    seeds, prompts = values.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    columns = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES) / prompts
    means: NDArray[np.float64] = ((rows @ values) * columns).sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return Interval(mean=float(values.mean()), low=low, high=high)


def nested_interval(values: Sequence[NDArray[np.float64]]) -> Interval:
    """Mean over seeds of each seed's mean, 95% percentile bootstrap of seeds and of what is in them."""
    rng = np.random.default_rng(SEED)
    means = np.array([rng.choice(v, size=(RESAMPLES, len(v))).mean(axis=1) for v in values])
    drawn = rng.integers(0, len(values), size=(len(values), RESAMPLES))
    resampled: NDArray[np.float64] = np.take_along_axis(means, drawn, axis=0).mean(axis=0)
    low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
    return Interval(mean=float(np.mean([v.mean() for v in values])), low=low, high=high)


def wilson_interval(successes: int, trials: int) -> Interval:
    """A share with Wilson's 95% score interval (Wilson 1927), which holds near 0 and 1 and for few trials too.

    Raises `ValueError` without trials.
    """
    if trials < 1:
        raise ValueError("no trials to take a share of")
    z = 1.959964
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * ((share * (1 - share) + weight / 4) / trials) ** 0.5 / (1 + weight)
    return Interval(mean=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def differences(after: PerPrompt, before: PerPrompt) -> list[float]:
    """Difference per prompt, in the order of the prompts' ids; raises `NotPaired`."""
    if after.keys() != before.keys():
        odd = sorted(after.keys() ^ before.keys())
        raise NotPaired(f"{len(odd)} prompts were measured on one side only, e.g. {odd[0]!r}")
    return [after[prompt] - before[prompt] for prompt in sorted(after)]


def paired_interval(after: PerPrompt, before: PerPrompt) -> Interval:
    """Mean difference over the same prompts with its 95% interval; raises `NotPaired`."""
    return mean_interval(differences(after, before))
