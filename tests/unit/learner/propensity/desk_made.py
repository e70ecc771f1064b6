"""A made-up desk whose people's chances of voting are known."""

from typing import NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, sigmoid
from thumbwheel_learner.propensity.model import Desk

ALPHA = (-0.6, 0.8, -0.5)
GAMMA = (-1.2, 0.6, 0.0)


class Known(NamedTuple):
    desk: Desk
    satisfied: Array
    """[N] of everybody."""
    chances: Array
    """[N] P(vote | x, s)."""


def made(n: int, reviews: int, seed: int, gamma: tuple[float, float, float] = GAMMA, mistaken: float = 0.0) -> Known:
    """Two features, the second a coin, of which satisfaction and voting depend in opposite ways."""
    rng = np.random.default_rng(seed)
    features = np.stack([rng.normal(size=n), (rng.random(n) < 0.4).astype(np.float64)], axis=1)
    satisfied = (rng.random(n) < sigmoid(0.3 - 0.7 * features[:, 0] + 0.8 * features[:, 1])).astype(np.float64)
    rows = np.concatenate([np.ones((n, 1)), features], axis=1)
    chances = sigmoid(rows @ np.array(ALPHA) + (satisfied - 0.5) * (rows @ np.array(gamma)))
    voted = rng.random(n) < chances
    seen = np.full(n, np.nan)
    slice_ = rng.permutation(n)[:reviews]
    seen[slice_] = satisfied[slice_]
    up = np.where(rng.random(n) < mistaken, 1 - satisfied, satisfied)
    return Known(Desk(features, voted, np.where(voted, up, np.nan), seen), satisfied, chances)
