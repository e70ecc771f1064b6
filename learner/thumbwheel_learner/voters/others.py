"""What others say of an answer: of the same one where several judged it, else of answers in like words."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scikit-learn has no stubs; what leaves this file is typed)

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from thumbwheel_learner.measures import Array, Indices, numbered
from thumbwheel_learner.voters.dawid_skene import dawid_skene, without_own
from thumbwheel_learner.voters.votes import Vote

FOLDS = 5
PENALTY = 3.0
"""scikit-learn's C of the logistic regression on rows of length one."""
MIN_WEIGHT = 1e-6


class Words:
    """The answers' words and pairs of words, read once."""

    def __init__(self, votes: Sequence[Vote]) -> None:
        reader = TfidfVectorizer(ngram_range=(1, 2), binary=True, min_df=3, token_pattern=r"(?u)\b\w[\w']*\b")
        self.rows: Any = reader.fit_transform([v.text for v in votes])
        """[votes, words], sparse; each row of length one, rare words counting more (Spärck Jones 1972)."""
        self.names: list[str] = list(reader.get_feature_names_out())


def expected(votes: Sequence[Vote], words: Words, weights: Array, known: Mapping[str, bool]) -> Array:
    """[votes] P(up) of each answer by what all but the voter say of it; `weights` [votes], 0 leaves a vote out.

    A known truth comes first, then the others' votes on the same answer, then their votes on answers in like words.
    """
    chances = by_likeness(votes, words, weights)
    item = numbered(v.item for v in votes)
    truths = {int(n): known[v.item] for n, v in zip(item, votes, strict=True) if v.item in known}
    fixed = np.isin(item, np.array(list(truths), dtype=np.intp))
    heard = weights > MIN_WEIGHT
    counted = heard | fixed
    by_others = fixed | (np.bincount(item, heard)[item] - heard > 0)
    fit = np.flatnonzero(counted & ((np.bincount(item)[item] > 1) | fixed))
    if not len(fit) or not by_others.any():
        return chances
    names, inside = np.unique(item[fit], return_inverse=True)
    place = {int(n): i for i, n in enumerate(names)}
    known_here = {place[n]: truth for n, truth in truths.items()}
    up = np.array([float(votes[i].up) for i in fit])
    coins = dawid_skene(numbered(votes[i].user for i in fit), inside, up, known=known_here)
    from_same = by_others[fit]
    chances[fit[from_same]] = without_own(coins, inside, list(known_here))[from_same]
    unheard = np.flatnonzero(by_others & ~counted)
    chances[unheard] = coins.truth()[[place[int(item[i])] for i in unheard]]
    return chances


def by_likeness(votes: Sequence[Vote], words: Words, weights: Array) -> Array:
    """[votes] P(up) by logistic regression on words, fitted without the voter's fold of users."""
    fold = folds([v.user for v in votes])
    up = np.array([v.up for v in votes], dtype=bool)
    chances = np.full(len(votes), base_rate(up, weights))
    for n in range(FOLDS):
        there, here = (fold != n) & (weights > MIN_WEIGHT), fold == n
        if not here.any() or len(set(up[there].tolist())) < 2:
            continue
        model = LogisticRegression(C=PENALTY, max_iter=1000)
        model.fit(words.rows[there], up[there], sample_weight=weights[there])
        chances[here] = model.predict_proba(words.rows[here])[:, 1]
    return chances


def base_rate(up: np.ndarray[Any, Any], weights: Array) -> float:
    """Weighted share of up-votes, never quite 0 or 1."""
    return float((np.sum(up * weights) + 1) / (np.sum(weights) + 2))


def folds(users: Sequence[str]) -> Indices:
    """[users] a fold for each, by a hash, so that nobody changes folds when others come."""
    return np.array([hashlib.sha256(user.encode()).digest()[0] % FOLDS for user in users], dtype=np.intp)
