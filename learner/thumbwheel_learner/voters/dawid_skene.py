"""Annotators' reliability where several judged the same answer: the two-coin model of Dawid and Skene, by EM."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, Indices, sigmoid

HYPER = 10.0
"""Votes that the belief "better than chance" weighs in the population's mean: it settles which side is called good."""
HYPER_MEAN = 0.8
CERTAIN = 30.0
"""Log-odds of a truth that is known."""


class Coins(NamedTuple):
    """What EM found."""

    sensitivity: Array
    """[users] P(votes up | the answer is good)."""
    specificity: Array
    """[users] P(votes down | the answer is bad)."""
    prevalence: float
    """Share of good answers."""
    log_odds: Array
    """[items] of being good, given all votes."""
    said: Array
    """[votes] what each vote adds to its item's log-odds."""

    def truth(self) -> Array:
        """[items] P(good)."""
        return sigmoid(self.log_odds)


def dawid_skene(
    user: Indices,
    item: Indices,
    up: Array,
    *,
    known: Mapping[int, bool] | None = None,
    strength: float = 4.0,
    rounds: int = 200,
    tolerance: float = 1e-6,
) -> Coins:
    """Each user's two error rates and each item's truth from overlapping votes (Dawid and Skene 1979).

    `user`, `item` and `up` [votes] say who judged what and how (1 or 0); items with a `known` truth (honeypots) are
    held at it. A user's rates have Beta priors that weigh `strength` votes and whose mean is the population's, so that
    who judged little counts as average (cf. Raykar et al. 2010, JMLR 11). EM starts from the majority, or from what
    the known answers say of those who judged them, which can overrule a majority.
    """
    users, items = int(user.max(initial=-1)) + 1, int(item.max(initial=-1)) + 1
    held = np.array(list(known or {}), dtype=np.intp)
    answers = np.where(np.array([*(known or {}).values()], dtype=bool), CERTAIN, -CERTAIN)
    votes = np.bincount(item, minlength=items)
    log_odds = np.log((np.bincount(item, up, items) + 0.5) / (votes - np.bincount(item, up, items) + 0.5))
    if len(held):
        tried = np.isin(item, held)
        log_odds[held] = answers
        start = _rates_of(user[tried], log_odds[item[tried]], up[tried], users, strength)
        log_odds = _heard(user, item, up, start, 0.5, items)[0]
    log_odds[held] = answers
    coins = Coins(np.zeros(users), np.zeros(users), 0.5, log_odds, np.zeros(len(up)))
    for _ in range(rounds):
        before = coins.log_odds
        coins = _step(user, item, up, before, users, strength)
        coins.log_odds[held] = answers
        if np.abs(sigmoid(coins.log_odds) - sigmoid(before)).max(initial=0.0) < tolerance:
            break
    return coins


def _step(user: Indices, item: Indices, up: Array, log_odds: Array, users: int, strength: float) -> Coins:
    """The rates under the current truths (M), and the truths under these rates (E)."""
    good = sigmoid(log_odds)
    rates = _rates_of(user, log_odds[item], up, users, strength)
    prevalence = float((good.sum() + 1) / (len(good) + 2))
    total, said = _heard(user, item, up, rates, prevalence, len(good))
    return Coins(*rates, prevalence, total, said)


def _heard(
    user: Indices, item: Indices, up: Array, rates: tuple[Array, Array], prevalence: float, items: int
) -> tuple[Array, Array]:
    """[items] log-odds of being good, and [votes] what each vote adds to them."""
    sensitivity, specificity = (rate[user] for rate in rates)
    said = np.where(up > 0.5, np.log(sensitivity / (1 - specificity)), np.log((1 - sensitivity) / specificity))
    return np.log(prevalence / (1 - prevalence)) + np.bincount(item, said, items), said


def _rates_of(user: Indices, log_odds: Array, up: Array, users: int, strength: float) -> tuple[Array, Array]:
    """Sensitivity and specificity [users] from `log_odds` [votes] of the answers that were judged."""
    good = sigmoid(log_odds)
    return _rates(user, good, up, users, strength), _rates(user, 1 - good, 1 - up, users, strength)


def _rates(user: Indices, chances: Array, right: Array, users: int, strength: float) -> Array:
    """[users] posterior mean of a rate: right answers over chances, with the population's mean as prior."""
    n = np.bincount(user, chances, users)
    k = np.bincount(user, chances * right, users)
    mean = (k.sum() + HYPER * HYPER_MEAN) / (n.sum() + HYPER)
    return (k + strength * mean) / (n + strength)


def without_own(coins: Coins, item: Indices, known: Sequence[int] = ()) -> Array:
    """[votes] P(good) of each vote's item from everybody else's votes; a known truth stays what it is."""
    fixed = np.isin(item, np.array(known, dtype=np.intp))
    return sigmoid(coins.log_odds[item] - np.where(fixed, 0.0, coins.said))
