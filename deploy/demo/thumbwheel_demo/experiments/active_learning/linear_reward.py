"""A reward that is linear in frozen features: Bayesian logistic regression, cheap enough to refit after every batch."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numpy's stubs leave the element type of reductions open)

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEWTON_STEPS = 30
PLAIN_SCALE = 3.0
BOUND = 4.0
"""In standard deviations, as for the reward model's likelihood."""
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Basis:
    """From raw features to few of like size: principal components of what is there unlabelled."""

    mean: Array
    scale: Array
    directions: Array
    """[F, D]"""

    @classmethod
    def of(cls, features: Array, width: int, plain: int = 0, plain_scale: float = PLAIN_SCALE) -> "Basis":
        """The first `width` principal components of the standardised features, their mean square 1 in all.

        The first `plain` features are left as they are, standardised and `plain_scale` large, so that the prior hardly
        holds them back.
        """
        mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        standard = ((features - mean) / scale)[:, plain:]
        values, vectors = np.linalg.eigh(standard.T @ standard / len(features))
        kept, chosen = values[::-1][:width], vectors[:, ::-1][:, :width]
        directions = np.zeros((features.shape[1], plain + chosen.shape[1]))
        directions[:plain, :plain] = plain_scale * np.eye(plain)
        directions[plain:, plain:] = chosen / np.sqrt(kept.mean())
        return cls(mean, scale, directions)

    def apply(self, features: Array) -> Array:
        """[N, F] -> [N, D + 1], standard scores bounded, the last one constant: what all answers have in common."""
        reduced = np.clip((features - self.mean) / self.scale, -BOUND, BOUND) @ self.directions
        return np.concatenate([reduced, np.ones((len(features), 1))], axis=1)


@dataclass(frozen=True)
class LinearReward:
    """Gaussian posterior of the weights, by Laplace's approximation (MacKay 1992)."""

    mean: Array
    """[D]"""
    precision: Array
    """[D, D]"""

    def members(self, count: int, rng: np.random.Generator) -> Array:
        """[K, D] weights drawn from the posterior."""
        lower = np.linalg.cholesky(self.precision)
        return self.mean + np.linalg.solve(lower.T, rng.normal(size=(len(self.mean), count))).T


def fit(vectors: Array, labels: Array, prior: float, start: Array | None = None) -> LinearReward:
    """Most likely weights by Newton's method, each step halved until it is one downhill.

    `vectors` [N, D], `labels` [N] from 0 to 1, `prior` the precision of every weight; `start` [D] where to begin.
    """
    width = vectors.shape[1]
    weights: Array = np.zeros(width) if start is None else start
    loss = _loss(weights, vectors, labels, prior)
    for _ in range(NEWTON_STEPS):
        gradient = vectors.T @ (_chances(vectors, weights) - labels) + prior * weights
        step = np.linalg.solve(_curvature(weights, vectors, prior), -gradient)
        if np.abs(step).max() < TOLERANCE:
            break
        while (lower := _loss(weights + step, vectors, labels, prior)) > loss and np.abs(step).max() > TOLERANCE:
            step = step / 2
        weights, loss = weights + step, lower
    return LinearReward(weights, _curvature(weights, vectors, prior))


def _chances(vectors: Array, weights: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -vectors @ weights))


def _loss(weights: Array, vectors: Array, labels: Array, prior: float) -> float:
    logits = vectors @ weights
    return float((np.logaddexp(0.0, logits) - labels * logits).sum() + prior / 2 * weights @ weights)


def _curvature(weights: Array, vectors: Array, prior: float) -> Array:
    chances = _chances(vectors, weights)
    return prior * np.eye(len(weights)) + vectors.T @ ((chances * (1.0 - chances))[:, None] * vectors)
