"""Loud voters who leave everybody else's opinion in the same direction: votes that are alike beyond the base rate."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scipy's sparse matrices have no types; what leaves this file is typed)

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from thumbwheel_learner.measures import Array, Indices
from thumbwheel_learner.voters.others import Words

SMALLEST = 3
"""Two may share a taste."""
SHOWN = 5


class Company(NamedTuple):
    """How one user belongs to a group."""

    others: int
    z: float
    words: tuple[str, ...]
    """What the answers say that the group is for, strongest first."""


def together(
    user: Indices, up: Array, chances: Array, words: Words, loud: Indices, *, users: int, false_share: float
) -> dict[int, Company]:
    """Members of a group among the `loud` users, by user number.

    What a user adds to the others' opinion is the residual of each vote, less the user's own mean (leniency is no
    taste), times the answer's words. Each loud user's residuals are set against the sum of all other loud users',
    which is the sum of residual products over all pairs of their votes, weighed by how alike the two answers are
    (cf. the spectral signatures of Tran, Li and Madry 2018, arXiv:1811.00811). Among people who vote independently
    given the answer it is normal with mean zero; the bar is Bonferroni's over all `users`.
    """
    if len(loud) < SMALLEST:
        return {}
    mine = [np.flatnonzero(user == u) for u in loud]
    residuals = [up[i] - chances[i] - np.mean(up[i] - chances[i]) for i in mine]
    sums = [np.asarray(words.rows[i].T @ r).ravel() / np.sqrt(len(i)) for i, r in zip(mine, residuals, strict=True)]
    whole = np.sum(sums, axis=0)
    z = np.array(
        [_alignment(words, i, r, whole - own, chances[i]) for i, r, own in zip(mine, residuals, sums, strict=True)]
    )
    bar = float(norm.isf(false_share / max(1, users)))
    group = np.flatnonzero(z >= bar)
    if len(group) < SMALLEST:
        return {}
    direction = np.sum([sums[g] for g in group], axis=0)
    shown = tuple(words.names[w] for w in np.argsort(-direction, kind="stable")[:SHOWN])
    return {int(loud[g]): Company(len(group) - 1, float(z[g]), shown) for g in group}


def _alignment(words: Words, votes: Indices, residuals: Array, direction: Array, chances: Array) -> float:
    """Residuals along a direction of words, in standard errors of votes that only the chances explain."""
    along = np.asarray(words.rows[votes] @ direction).ravel()
    along = along - along.mean()
    error = float(np.sqrt(np.sum(chances * (1 - chances) * along**2)))
    return float(np.sum(residuals * along)) / error if error > 0 else 0.0
