"""From scores to a batch of questions: one per conversation, no two alike, and always a random slice.

Every formula and source: docs/algorithms/acquisition.md.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (numpy's stubs leave the element type of comparisons and reductions open)

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from thumbwheel_learner.measures import Array

Indices = NDArray[np.intp]
RANDOM_SHARE = 0.1
"""Of a batch, drawn without looking at any score."""
BANDWIDTH = 0.25
"""In root mean square distances of the pool: a question this far from a taken one keeps 39% of its score."""
RIDGE = 1.0
"""Prior precision of every weight of the head, where none is given."""
ROUNDING = 1e-9
"""Squared distances below this share of the squared lengths are none."""


class BadPool(ValueError):
    """Scores, features or numbers by which no batch can be chosen; the message says which and why."""


class Selection(NamedTuple):
    """A batch: the random slice first, then what was chosen, in the order of choice."""

    positions: Indices
    """[B] in the pool."""
    random: NDArray[np.bool_]
    """[B] whether drawn at random: only what people say of these is an unbiased picture of the pool."""


class Values(Protocol):
    """What every question is worth, given those that were taken."""

    def values(self) -> Array:
        """[N] none negative."""
        ...

    def take(self, index: int) -> None:
        """Have a question in the batch, which may make others worth less."""
        ...


def check(name: str, array: Array, *shape: int | None, low: float = -math.inf, high: float = math.inf) -> None:
    """Make sure of an array's shape (None: any size) and of finite values in [low, high]; raises `BadPool`."""
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise BadPool(f"{name}: the shape is {array.shape}, wanted ({wanted})")
    if not np.isfinite(array).all():
        raise BadPool(f"{name}: some values are not finite")
    if array.size and (array.min() < low or array.max() > high):
        raise BadPool(f"{name}: values from {array.min():g} to {array.max():g}, wanted {low:g} to {high:g}")


class Diverse:
    """Scores that fall to nothing for what resembles a taken question: score · (1 − max k(x, taken))."""

    def __init__(self, scores: Array, vectors: Array, *, bandwidth: float = BANDWIDTH, mirrored: bool = False) -> None:
        """`scores` [N] not negative, `vectors` [N, D]; `mirrored` where x and −x ask the same, as pairs do.

        k(x, y) = exp(−|x − y|² / 2h²), h = `bandwidth` · the pool's root mean square distance. Raises `BadPool`.
        """
        check("scores", scores, None, low=0.0)
        check("vectors", vectors, len(scores), None)
        if not 0 < bandwidth < math.inf:
            raise BadPool(f"bandwidth: {bandwidth:g}, wanted a positive number")
        self._scores = scores
        self._vectors = vectors
        self._mirrored = mirrored
        self._squares: Array = np.square(vectors).sum(axis=1)
        center = 0.0 if mirrored or not len(vectors) else float(np.square(vectors.mean(axis=0)).sum())
        size = float(self._squares.mean()) if len(vectors) else 0.0
        spread = max(2.0 * (size - center), ROUNDING * size, np.finfo(np.float64).tiny)
        self._width = 2.0 * bandwidth**2 * spread
        self._nearest: Array = np.zeros(len(scores))

    def values(self) -> Array:
        """[N]"""
        return self._scores * (1.0 - self._nearest)

    def take(self, index: int) -> None:
        """Lower what is near it."""
        along: Array = self._vectors @ self._vectors[index]
        along = np.abs(along) if self._mirrored else along
        both = self._squares + self._squares[index]
        distance = both - 2.0 * along
        nearness = np.exp(-np.where(distance > ROUNDING * both, distance, 0.0) / self._width)
        self._nearest = np.maximum(self._nearest, nearness)


class Design:
    """Greedy D-optimal design of a logistic head: the gain of log det(P + Σ w x xᵀ) over the questions taken.

    Questions alike are worth less by themselves: the second adds little to the determinant. The greedy batch gains at
    least 1 − 1/e of the best one's (Nemhauser et al. 1978: the log determinant is submodular).
    """

    def __init__(self, vectors: Array, weights: Array | None = None, precision: Array | None = None) -> None:
        """`vectors` [N, D]; `weights` [N] a label's information p(1 − p), at most ¼, which is the default.

        `precision` [D, D] P, what is known already: the prior's and the labels' so far; `RIDGE` · I by default. Raises
        `BadPool`.
        """
        check("vectors", vectors, None, None)
        width = vectors.shape[1]
        self._weights: Array = np.full(len(vectors), 0.25) if weights is None else weights
        check("weights", self._weights, len(vectors), low=0.0, high=0.25)
        known: Array = RIDGE * np.eye(width) if precision is None else precision
        check("precision", known, width, width)
        try:
            np.linalg.cholesky(known)
        except np.linalg.LinAlgError as error:
            raise BadPool("precision: not positive definite") from error
        self._vectors = vectors
        self._solved: Array = np.linalg.solve(known, vectors.T).T.astype(np.float64)
        self._leverage: Array = np.einsum("nd,nd->n", vectors, self._solved)

    def values(self) -> Array:
        """[N] log det with the question − log det without it."""
        return np.log1p(self._weights * np.clip(self._leverage, 0.0, None))

    def take(self, index: int) -> None:
        """Add a question's information to P, by the formula of Sherman and Morrison."""
        direction = self._solved[index].copy()
        along: Array = self._vectors @ direction
        weight = float(self._weights[index])
        scale = weight / (1.0 + weight * float(self._leverage[index]))
        self._solved = self._solved - scale * along[:, None] * direction[None, :]
        self._leverage = self._leverage - scale * np.square(along)


def select(
    values: Values, conversations: Indices, *, budget: int, seed: int, random_share: float = RANDOM_SHARE
) -> Selection:
    """At most `budget` questions, one per conversation: first a random slice, then greedily whatever is worth most.

    The slice draws conversations evenly and a question of each evenly; it is rounded up, so there always is one. Equal
    values are decided at random. `conversations` [N] numbers. The same seed gives the same batch, and the same slice
    whatever the values. Raises `BadPool`.
    """
    if budget < 0 or seed < 0 or not 0 < random_share <= 1:
        raise BadPool(f"budget {budget}, seed {seed}, random share {random_share:g}: wanted >= 0, >= 0, in (0, 1]")
    check("values", values.values(), len(conversations), low=0.0)
    rng = np.random.default_rng(seed)
    shuffled: Indices = rng.permutation(len(conversations))
    _, first = np.unique(conversations[shuffled], return_index=True)
    size = min(budget, len(first))
    drawn: Indices = shuffled[rng.permutation(first)[: _slice(size, random_share)]]
    chosen = _greedy(values, conversations, drawn.tolist(), size, shuffled)
    return Selection(chosen, np.arange(size) < len(drawn))


def best(values: Values, conversations: Indices, *, budget: int, seed: int) -> Indices:
    """[B] at most `budget` questions, one per conversation, greedily whatever is worth most, without a random slice.

    For pools from which conversations were set aside for one. Raises `BadPool`.
    """
    if budget < 0 or seed < 0:
        raise BadPool(f"budget {budget}, seed {seed}: wanted at least 0 both")
    check("values", values.values(), len(conversations), low=0.0)
    shuffled: Indices = np.random.default_rng(seed).permutation(len(conversations))
    return _greedy(values, conversations, [], min(budget, len(np.unique(conversations))), shuffled)


def _greedy(values: Values, conversations: Indices, taken: list[int], size: int, shuffled: Indices) -> Indices:
    """[size] those that are taken already and what is worth most beside them."""
    chosen = list(taken)
    free: NDArray[np.bool_] = ~np.isin(conversations, conversations[chosen])
    for index in chosen:
        values.take(index)
    while len(chosen) < size:
        worth = np.where(free, values.values(), -1.0)[shuffled]
        index = int(shuffled[int(np.argmax(worth))])
        values.take(index)
        free &= conversations != conversations[index]
        chosen.append(index)
    return np.array(chosen, dtype=np.intp)


def _slice(size: int, share: float) -> int:
    """Rounded up, but 20% of 30 is 6 whatever binary fractions say."""
    return math.ceil(round(share * size, 9))
