"""P(vote | features, satisfaction): what satisfaction does from the random slice, the rest from all conversations."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_learner.measures import Array, sigmoid
from thumbwheel_learner.propensity.fit import balanced, likeliest

RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Penalties on standardised coefficients that the random slice chooses from."""
FIRM = 1.0
"""Penalty on the features' coefficients where all conversations speak."""
LOOSE = 0.1
"""Penalty on what a vote says of satisfaction, so that a slice without mistakes does not claim certainty."""
UNSURE = 0.001
"""No belief counts as surer than this."""
FOLDS, SEED = 5, 20_052


class BadDesk(ValueError):
    """Conversations, votes or reviews that contradict each other; the message says which and why."""


@dataclass(frozen=True)
class Desk:
    """All conversations, those without a vote included; raises `BadDesk` when they do not fit together."""

    features: Array
    """[N, D] what is known of each conversation whether or not it got a vote; any scale, D may be 0."""
    voted: NDArray[np.bool_]
    """[N]"""
    up: Array
    """[N] 1 or 0 where there is a vote, not read elsewhere."""
    satisfied: Array
    """[N] 1 or 0 by a reviewer where the conversation is in the random slice, nan elsewhere."""
    believed: Array | None = None
    """[N] P(satisfied) in (0, 1) where there is a vote, by a reward model that has not seen this vote; not read
    elsewhere. It tells mistaken votes, whose weight would count the mistake many times over."""

    def __post_init__(self) -> None:
        n = len(self.voted)
        if self.features.ndim != 2 or any(len(a) != n for a in (self.features, self.up, self.satisfied)):
            shapes = (self.features.shape, self.voted.shape, self.up.shape, self.satisfied.shape)
            raise BadDesk(f"features, voted, up, satisfied: shapes {shapes}, wanted [N, D], [N], [N], [N]")
        if self.believed is not None and not (
            self.believed.shape == self.voted.shape and np.all(np.abs(self.believed[self.voted] - 0.5) <= 0.5)
        ):
            raise BadDesk("believed: wanted [N], from 0 to 1 wherever there is a vote")
        if not np.isfinite(self.features).all():
            raise BadDesk("features: some values are not finite")
        if not np.isin(self.up[self.voted], (0.0, 1.0)).all():
            raise BadDesk("up: some votes are neither 1 nor 0")
        if not np.isin(self.satisfied[self.reviewed], (0.0, 1.0)).all():
            raise BadDesk("satisfied: some reviews are neither 1 nor 0")

    @property
    def reviewed(self) -> NDArray[np.bool_]:
        """[N] the random slice."""
        return ~np.isnan(self.satisfied)

    def only(self, kept: NDArray[np.bool_]) -> "Desk":
        """Part of the conversations."""
        believed = None if self.believed is None else self.believed[kept]
        return Desk(self.features[kept], self.voted[kept], self.up[kept], self.satisfied[kept], believed)


class VoteModel(NamedTuple):
    """P(vote | x, s) = σ(α·[1, z] + (s − ½) · γ·[1, z]), z the standardised features."""

    center: Array
    scale: Array
    alpha: Array
    """[1 + D]"""
    gamma: Array
    """[1 + D] zero where satisfaction is left out."""
    hearing: Array | None
    """[3] coefficients of P(satisfied | vote, belief); None where votes are taken at their word."""

    def chances(self, features: Array, satisfied: Array) -> Array:
        """[N] P(vote) of conversations with `features` [N, D] whose people are `satisfied` [N], 1 or 0."""
        rows = with_constant((features - self.center) / self.scale)
        return sigmoid(rows @ self.alpha + (satisfied - 0.5) * (rows @ self.gamma))

    def inverse(self, said: Desk) -> Array:
        """[N] what 1 / P(vote) is expected to be of conversations that all have a vote, perhaps by mistake."""
        satisfied = _meant(said, self.hearing)
        likely, unlikely = (1 / self.chances(said.features, np.full(len(said.up), s)) for s in (1.0, 0.0))
        return satisfied * likely + (1 - satisfied) * unlikely


def with_constant(features: Array) -> Array:
    """[N, 1 + D]"""
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def folds(n: int) -> NDArray[np.intp]:
    """[N] a fold for each, the same in every run."""
    return np.random.default_rng(SEED).permutation(n) % FOLDS


def fit_by_features(desk: Desk) -> VoteModel:
    """P(vote | x): right where people vote whatever they think; raises `NoFit`."""
    return _completed(desk, np.zeros(int(desk.features.shape[1]) + 1), None)


def fit_by_reviews(desk: Desk, ridge: float, *, at_their_word: bool = False) -> VoteModel:
    """P(vote | x, s): γ from the random slice, where s is known of the silent too, α from everybody; raises `NoFit`.

    α is refitted to all conversations with γ given, since the slice is small and the rest has something to say of x
    (Kim and Yu 2011, JASA 106). What a vote says of s, where it is not taken `at_their_word`, the slice's voters tell
    (cf. Raykar et al. 2010, JMLR 11).
    """
    slice_, center, scale = desk.only(desk.reviewed), *_standard(desk.features)
    rows = _crossed((slice_.features - center) / scale, slice_.satisfied)
    found = likeliest(rows, slice_.voted.astype(np.float64), _penalty(rows.shape[1] // 2, ridge, 2))
    heard = slice_.only(slice_.voted)
    hearing = None if at_their_word else likeliest(_heard(heard), heard.satisfied, np.array([0.0, LOOSE, LOOSE]))
    return _completed(desk, found[rows.shape[1] // 2 :], hearing)


def choose_ridge(desk: Desk) -> float:
    """The penalty under which the slice's left-out folds are most likely; the larger one of equals."""
    slice_, center, scale = desk.only(desk.reviewed), *_standard(desk.features)
    rows = _crossed((slice_.features - center) / scale, slice_.satisfied)
    voted, fold = slice_.voted.astype(np.float64), folds(len(slice_.voted))

    def surprise(ridge: float) -> float:
        total = 0.0
        for n in range(FOLDS):
            held = fold == n
            found = likeliest(rows[~held], voted[~held], _penalty(rows.shape[1] // 2, ridge, 2))
            score: Array = rows[held] @ found
            total += float(np.sum(np.logaddexp(0, score) - voted[held] * score))
        return total

    return min(reversed(RIDGES), key=surprise)


def _meant(desk: Desk, hearing: Array | None) -> Array:
    """[N] P(satisfied) of voters by what they said; ½ where there is no vote and none is heard."""
    return np.where(desk.voted, desk.up, 0.5) if hearing is None else sigmoid(_heard(desk) @ hearing)


def _heard(desk: Desk) -> Array:
    """[N, 3] constant, vote − ½, log-odds of what was believed; 0 where there is no vote."""
    chance = np.full(len(desk.voted), 0.5) if desk.believed is None else np.where(desk.voted, desk.believed, 0.5)
    chance = np.clip(chance, UNSURE, 1 - UNSURE)
    rows = np.stack([np.ones(len(chance)), np.where(desk.voted, desk.up, 0.5) - 0.5, np.log(chance / (1 - chance))])
    return rows.T


def _completed(desk: Desk, gamma: Array, hearing: Array | None) -> VoteModel:
    """α with γ and what votes say of satisfaction given.

    A mixture over s of 1 / P(vote) = 1 + exp(−αx − (s − ½)γx) is 1 + exp(−αx − t) again, with
    t = −log(q exp(−γx/2) + (1 − q) exp(γx/2)), q = P(satisfied | vote, belief): the fit stays convex.
    """
    center, scale = _standard(desk.features)
    rows = with_constant((desk.features - center) / scale)
    satisfied = _meant(desk, hearing)
    effect: Array = rows @ gamma / 2
    tilt = -np.log(satisfied * np.exp(-effect) + (1 - satisfied) * np.exp(effect))
    alpha = balanced(rows, desk.voted.astype(np.float64), tilt, _penalty(rows.shape[1], FIRM, 1))
    return VoteModel(center, scale, alpha, gamma, hearing)


def _crossed(features: Array, satisfied: Array) -> Array:
    """[N, 2 + 2D] constant, features, and both times s − ½."""
    rows = with_constant(features)
    return np.concatenate([rows, (satisfied - 0.5)[:, None] * rows], axis=1)


def _standard(features: Array) -> tuple[Array, Array]:
    """Mean and standard deviation [D]; 1 for features that never vary."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.where(spread > 0, spread, 1.0)


def _penalty(width: int, ridge: float, times: int) -> Array:
    """On everything but the constant of each block."""
    return np.tile(np.concatenate([[0.0], np.full(width - 1, ridge)]), times)
