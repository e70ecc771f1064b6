"""How far a user's votes go along with what others say, and how strongly they speak against it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, Indices

BETS = (0.25, 0.5, 1.0)
"""Stakes of the test, averaged: a small one finds faint contradiction in many votes, a large one open contradiction."""
WIDEST = 0.9
"""Of the distance that a chance of 0 or 1 has from the base rate: no single vote may decide."""
MIN_SPREAD = 1e-6


class Agreement(NamedTuple):
    """Per user; slopes are 1 where votes follow the others' chances one to one, 0 where they have nothing to do with
    them, below 0 where they contradict them."""

    slope: Array
    """[users] least squares through the base rate; 0 without information."""
    error: Array
    """[users] standard error of the slope, infinite without information."""
    shrunk: Array
    """[users] the slope after shrinkage towards the population."""
    population: float
    spread: float
    """Standard deviation of true slopes between users, as far as it shows."""
    against: Array
    """[users] log of the evidence that the user votes against the others rather than at random."""

    def reliability(self) -> Array:
        """[users] 0 to 1: the shrunk slope in units of the population's; 1 for all when the others' word says nothing.

        Whoever agrees more than most is not worth more than one.
        """
        if self.population <= MIN_SPREAD:
            return np.ones(len(self.slope))
        return np.clip(self.shrunk / self.population, 0.0, 1.0)


def agreement(user: Indices, up: Array, chances: Array, base: float, trust: Array) -> Agreement:
    """Compare votes `up` [votes] with the others' `chances` [votes] of an up-vote; `trust` [users] weighs users in
    the population's figures, so that few loud ones do not set them.

    Slopes: P(up) = base + slope · (chance − base). Shrinkage: the normal-normal model of a meta-analysis, the spread
    between users by the method of moments (DerSimonian and Laird 1986).
    """
    users = len(trust)
    distance = chances - base
    information = np.bincount(user, distance**2, users)
    covariance = np.bincount(user, distance * (up - base), users)
    variance = base * (1 - base)
    known = information > MIN_SPREAD
    slope = np.where(known, covariance / np.maximum(information, MIN_SPREAD), 0.0)
    error = np.where(known, np.sqrt(variance / np.maximum(information, MIN_SPREAD)), np.inf)
    weight = np.where(known, trust * information / variance, 0.0)
    population = float(np.sum(weight * slope) / max(np.sum(weight), MIN_SPREAD))
    spread = _spread(slope[known], error[known], trust[known])
    precision = information / variance
    prior = 1 / max(spread**2, MIN_SPREAD)
    shrunk = (precision * slope + prior * population) / (precision + prior)
    return Agreement(slope, error, shrunk, population, spread, evidence_against(user, up, chances, base, users))


def _spread(slope: Array, error: Array, trust: Array) -> float:
    """DerSimonian and Laird's τ: what the slopes vary beyond their errors; weights are trust over squared error."""
    weight = trust / error**2
    total = float(np.sum(weight))
    if total <= 0:
        return 0.0
    mean = float(np.sum(weight * slope)) / total
    expected = float(np.sum(weight * error**2) - np.sum(weight**2 * error**2) / total)
    excess = float(np.sum(weight * (slope - mean) ** 2)) - expected
    return float(np.sqrt(max(0.0, excess / max(total - float(np.sum(weight**2)) / total, MIN_SPREAD))))


def evidence_against(user: Indices, up: Array, chances: Array, base: float, users: int) -> Array:
    """[users] log e-value of the user's votes: what a gambler has made of 1 who bet on contradiction, vote by vote.

    The stake is won where a vote goes against the others, lost where it goes along with them. For whoever votes at
    random at the base rate, or along with the others however weakly, the winnings are a supermartingale: the chance
    that they ever reach x, looked at after every vote and in every run, is at most 1/x (Ville 1939; betting:
    Waudby-Smith and Ramdas 2020, arXiv:2010.09686). An average of such winnings is one again.
    """
    widest = WIDEST * min(base, 1 - base)
    distance = np.clip(chances - base, -widest, widest)
    gain = -distance * (up - base) / (base * (1 - base))
    made = [np.bincount(user, np.log1p(bet * gain), users) for bet in BETS]
    return np.logaddexp.reduce(np.stack(made), axis=0) - np.log(len(BETS))


def discoveries(log_evidence: Sequence[float] | Array, false_share: float) -> Indices:
    """Which users' evidence holds among all looked at: at most `false_share` of those named are wrong on average.

    Benjamini and Hochberg's procedure on e-values, which may depend on each other in any way (Wang and Ramdas 2020,
    arXiv:2009.02824).
    """
    evidence = np.asarray(log_evidence, dtype=np.float64)
    order = np.argsort(-evidence, kind="stable")
    bars = np.log(len(evidence) / (false_share * np.arange(1, len(evidence) + 1)))
    passed = np.flatnonzero(evidence[order] >= bars)
    return order[: passed.max() + 1] if len(passed) else order[:0]
