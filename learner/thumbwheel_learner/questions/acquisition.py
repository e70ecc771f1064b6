"""What to ask people next: how much the answer to a question would teach the reward model.

A question is about one answer ("is it good, or what should it say?") or about two to the same conversation ("which is
better?"). Every formula and source: docs/algorithms/acquisition.md; how a batch is put together: selection.py.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (numpy's stubs leave the element type of comparisons and reductions open)

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thumbwheel_learner.measures import Array, numbered, sigmoid
from thumbwheel_learner.questions.selection import (
    BANDWIDTH,
    RANDOM_SHARE,
    BadPool,
    Design,
    Diverse,
    Indices,
    Selection,
    best,
    check,
    select,
)
from thumbwheel_learner.questions.settings import ACQUISITIONS, Acquisition


def random(count: int, rng: np.random.Generator) -> Array:
    """[N] from 0 to 1, evenly: what every other function has to beat."""
    return rng.random(count)


def entropy(probabilities: Array) -> Array:
    """[N] of the label, in nats, from calibrated probabilities [N] (uncertainty sampling, Lewis and Gale 1994).

    Raises `BadPool`.
    """
    check("probabilities", probabilities, None, low=0.0, high=1.0)
    return _entropy(probabilities)


def bald(members: Array) -> Array:
    """[N] mutual information of label and member, in nats, from the members' probabilities [K, N].

    What is unsure only because people are is worth nothing here (Houlsby et al. 2011, arXiv:1112.5745). Raises
    `BadPool`.
    """
    check("members", members, None, None, low=0.0, high=1.0)
    _at_least(members, 1)
    return np.clip(_entropy(members.mean(axis=0)) - _entropy(members).mean(axis=0), 0.0, None)


def variance(members: Array) -> Array:
    """[N] of the members' rewards [K, N], or of their differences for pairs (Christiano et al. 2017, arXiv:1706.03741).

    Raises `BadPool`.
    """
    check("members", members, None, None)
    _at_least(members, 1)
    return members.var(axis=0)


def double_thompson(members: Array, conversations: Indices, pairs: Indices | None, rng: np.random.Generator) -> Array:
    """[N] 1 for what two members drawn at random propose, 0 for the rest; from rewards [K, A] of all answers.

    In every conversation each of the two proposes the answer it likes best, the second drawn from the members that
    like another one best. The question is the pair of both (Wu and Liu 2016, arXiv:1604.07101; Dwaracherla et al. 2024,
    arXiv:2402.00396), or without `pairs` either of them. Where all members like the same answer best there is no pair
    to propose. `conversations` [A] numbers, `pairs` [N, 2] rows of answers. Raises `BadPool`.
    """
    check("members", members, None, len(conversations))
    _at_least(members, 1 if pairs is None else 2)
    proposed: list[frozenset[int]] = []
    order = np.argsort(conversations, kind="stable")
    starts = np.flatnonzero(np.diff(conversations[order], prepend=conversations[order[:1]] - 1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        best: Indices = rows[np.argmax(members[:, rows], axis=1)]
        first = int(rng.choice(best))
        others = best[best != first]
        proposed.append(frozenset([first, int(rng.choice(others))] if len(others) else [first]))
    if pairs is not None:
        duels = {duel for duel in proposed if len(duel) == 2}
        return np.array([float(frozenset(pair) in duels) for pair in pairs.tolist()], dtype=np.float64)
    either = {answer for answers in proposed for answer in answers}
    return np.array([float(answer in either) for answer in range(len(conversations))], dtype=np.float64)


def d_optimal(vectors: Array, weights: Array | None = None, precision: Array | None = None) -> Array:
    """[N] log det(P + w x xᵀ) − log det P, what one label adds to a logistic head's information matrix.

    From last-layer features, or their differences for pairs, [N, D] (Mukherjee et al. 2024, arXiv:2404.13895; Kveton et
    al. 2025, arXiv:2503.01076); `weights` and `precision` as for `selection.Design`, which chooses whole batches.
    Raises `BadPool`.
    """
    return Design(vectors, weights, precision).values()


@dataclass(frozen=True)
class Pool:
    """Answers that could be asked about, and how: one by one, or in `pairs`. Raises `BadPool`."""

    conversations: Sequence[Hashable]
    """[A] what each answer belongs to; one question per batch is asked about it."""
    members: Array
    """[K, A] rewards, on the scale of logits."""
    features: Array
    """[A, D] of the last layer, on scales that are worth comparing (standardised, say)."""
    pairs: Indices | None = None
    """[N, 2] rows of answers to the same conversation; None asks about single answers."""
    offset: float = 0.0
    """Added to a reward before it is an up-vote's logit."""
    temperature: float = 1.0
    """Of the calibration."""

    def __post_init__(self) -> None:
        answers = len(self.conversations)
        check("members", self.members, None, answers)
        _at_least(self.members, 1)
        check("features", self.features, answers, None)
        if not (0 < self.temperature < math.inf and math.isfinite(self.offset)):
            raise BadPool(f"temperature {self.temperature:g}, offset {self.offset:g}: wanted > 0, and finite")
        if self.pairs is None:
            return
        check("pairs", self.pairs.astype(np.float64), None, 2, low=0, high=answers - 1)
        one, other = self.pairs.T
        if (one == other).any() or (self.answers_of[one] != self.answers_of[other]).any():
            raise BadPool("pairs: wanted two different answers to the same conversation each")

    @cached_property
    def answers_of(self) -> Indices:
        """[A] number of every answer's conversation."""
        return numbered(self.conversations)

    @property
    def asked_of(self) -> Indices:
        """[N] number of every question's conversation."""
        return self.answers_of if self.pairs is None else self.answers_of[self.pairs[:, 0]]

    @property
    def logits(self) -> Array:
        """[K, N] of a thumb up, or of the first of a pair being better."""
        if self.pairs is None:
            return (self.members + self.offset) / self.temperature
        return (self.members[:, self.pairs[:, 0]] - self.members[:, self.pairs[:, 1]]) / self.temperature

    @property
    def vectors(self) -> Array:
        """[N, D] the features, or their differences."""
        return (
            self.features if self.pairs is None else self.features[self.pairs[:, 0]] - self.features[self.pairs[:, 1]]
        )

    @property
    def probabilities(self) -> Array:
        """[N] calibrated, of the members' mean logit, as `RewardModel.p_up` has it."""
        return sigmoid(self.logits.mean(axis=0))


def scores(pool: Pool, acquisition: Acquisition, rng: np.random.Generator, precision: Array | None = None) -> Array:
    """[N] what every question of a pool is worth by itself; raises `BadPool`."""
    match acquisition:
        case "random":
            return random(len(pool.asked_of), rng)
        case "entropy":
            return entropy(pool.probabilities)
        case "bald":
            return bald(sigmoid(pool.logits))
        case "variance":
            return variance(pool.logits)
        case "double_thompson":
            return double_thompson(pool.members, pool.answers_of, pool.pairs, rng)
        case "d_optimal":
            return d_optimal(pool.vectors, _information(pool), precision)
        case _:
            raise BadPool(f"acquisition: {acquisition!r}, wanted one of {', '.join(ACQUISITIONS)}")


def acquire(
    pool: Pool,
    acquisition: Acquisition,
    *,
    budget: int,
    seed: int,
    random_share: float = RANDOM_SHARE,
    bandwidth: float = BANDWIDTH,
    precision: Array | None = None,
) -> Selection:
    """The next batch of questions; `random` makes all of it the random slice.

    `precision` [D, D] is what is known of the head's weights, for `d_optimal` alone. Raises `BadPool`.
    """
    if seed < 0:
        raise BadPool(f"seed {seed}: wanted at least 0")
    if acquisition == "d_optimal":
        design = Design(pool.vectors, _information(pool), precision)
        return select(design, pool.asked_of, budget=budget, seed=seed, random_share=random_share)
    worth = scores(pool, acquisition, np.random.default_rng([seed, 1]))
    diverse = Diverse(worth, pool.vectors, bandwidth=bandwidth, mirrored=pool.pairs is not None)
    share = 1.0 if acquisition == "random" else random_share
    return select(diverse, pool.asked_of, budget=budget, seed=seed, random_share=share)


def rank(pool: Pool, acquisition: Acquisition, *, budget: int, seed: int) -> tuple[Indices, Array]:
    """The best questions of a pool from which a random slice was set aside: [B] positions, and [N] what each is worth.

    Raises `BadPool`.
    """
    worth = scores(pool, acquisition, np.random.default_rng([seed, 1]))
    if acquisition == "d_optimal":
        values: Design | Diverse = Design(pool.vectors, _information(pool))
    else:
        values = Diverse(worth, pool.vectors, mirrored=pool.pairs is not None)
    return best(values, pool.asked_of, budget=budget, seed=seed), worth


def _information(pool: Pool) -> Array:
    """[N] p(1 − p), what a label says of a logit."""
    return pool.probabilities * (1.0 - pool.probabilities)


def _entropy(p: Array) -> Array:
    q = 1.0 - p
    return -(p * np.log(np.where(p > 0, p, 1.0)) + q * np.log(np.where(q > 0, q, 1.0)))


def _at_least(members: Array, count: int) -> None:
    if len(members) < count:
        raise BadPool(f"members: {len(members)} of them, wanted at least {count}")
