"""What a reward model must beat on preference pairs, and the table that puts them side by side."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (scikit-learn has no stubs; what leaves this file is typed)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from thumbwheel_learner.dataset.examples import Messages, Pair
from thumbwheel_learner.measures import Array, Estimate, Indices, auc, bootstrap, ece, numbered, sigmoid
from thumbwheel_learner.reward.labels import prompt_key

FOLDS = 5
MIN_PAIRS = 20
"""Fewer pairs than this are not enough to fit anything on."""
MIN_TEXTS = 2
"""A word in fewer texts than this says nothing of others."""


class PairScorer(Protocol):
    """The part of a reward model that an evaluation needs."""

    temperature: float

    def score_messages(self, conversations: Sequence[Messages], answers: Sequence[str]) -> Any:
        """Scores with a `mean` per answer."""
        ...


@dataclass(frozen=True)
class PairFigures:
    """One model on a file of pairs."""

    accuracy: Estimate
    """Of "the chosen one is better"; equal scores count half."""
    auc: Estimate
    """Of the score difference, each pair shown in both orders."""
    ece: Estimate | None
    """Of the probability stated for the preferred side; None where no probability can be stated."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "accuracy": self.accuracy._asdict(),
            "auc": self.auc._asdict(),
            "ece": None if self.ece is None else self.ece._asdict(),
        }


def evaluate_pairs(reward: PairScorer | None, pairs: Sequence[Pair], *, seed: int = 0) -> dict[str, Any]:
    """Figures of the reward model beside the baselines, on the same pairs, ties left out; plain JSON.

    Nothing is trained on the pairs but the fitted baselines, each by cross-validation over prompts. Intervals come
    from resampling prompts.
    """
    decided = [p for p in pairs if not p.tie]
    clusters = [prompt_key(p.messages) for p in decided]
    out: dict[str, Any] = {"pairs": len(decided), "ties": len(pairs) - len(decided), "models": {}}
    if not decided:
        return out
    models: dict[str, Any] = out["models"]
    if reward is not None:
        conversations = [p.messages for p in decided]
        chosen = reward.score_messages(conversations, [p.chosen for p in decided]).mean.double().numpy()
        rejected = reward.score_messages(conversations, [p.rejected for p in decided]).mean.double().numpy()
        margin = chosen - rejected
        models["reward_model"] = figures(margin, sigmoid(margin / reward.temperature), clusters, seed).as_dict()
    longer: Array = np.array([float(len(p.chosen) - len(p.rejected)) for p in decided])
    folds = fold_of(clusters, seed)
    for name, margin in (("longer_wins", longer), ("shorter_wins", -longer)):
        stated = _stated_by_sign(margin, folds) if len(decided) >= MIN_PAIRS else None
        models[name] = figures(margin, stated, clusters, seed).as_dict()
    bigrams = bag_of_bigrams(decided, folds) if len(decided) >= MIN_PAIRS else None
    if bigrams is not None:
        models["bag_of_bigrams"] = figures(bigrams, sigmoid(bigrams), clusters, seed).as_dict()
    return out


def figures(margin: Array, stated: Array | None, clusters: Sequence[str], seed: int) -> PairFigures:
    """`margin` > 0 where the chosen answer scores higher; `stated` is the probability given to the chosen one."""
    right = (margin > 0) + 0.5 * (margin == 0)

    def both_orders(i: Indices) -> tuple[Array, Array]:
        return np.concatenate([margin[i], -margin[i]]), np.concatenate([np.ones(len(i)), np.zeros(len(i))])

    def calibration(i: Indices) -> float:
        assert stated is not None
        sure, said = np.maximum(stated[i], 1 - stated[i]), stated[i]
        return ece(sure, (said > 0.5) + 0.5 * (said == 0.5))

    return PairFigures(
        accuracy=bootstrap(lambda i: float(right[i].mean()), clusters, seed=seed),
        auc=bootstrap(lambda i: auc(*both_orders(i)), clusters, seed=seed),
        ece=None if stated is None else bootstrap(calibration, clusters, seed=seed),
    )


def fold_of(clusters: Sequence[str], seed: int) -> Indices:
    """A fold per pair; equal prompts share one."""
    prompt = numbered(clusters)
    shuffled = np.random.default_rng(seed).permutation(prompt.max(initial=-1) + 1) % FOLDS
    return shuffled[prompt]


def _stated_by_sign(margin: Array, folds: Indices) -> Array:
    """The probability a fixed rule may state: how often it was right in the other folds."""
    stated = np.full(len(margin), 0.5)
    for fold in range(FOLDS):
        here, there = folds == fold, (folds != fold) & (margin != 0)
        rate = float((margin[there] > 0).mean()) if there.any() else 0.5
        stated[here] = np.where(margin[here] > 0, rate, np.where(margin[here] < 0, 1 - rate, 0.5))
    return stated


def bag_of_bigrams(pairs: Sequence[Pair], folds: Indices) -> Array:
    """Log-odds that the chosen answer is better, by `bigram_scores` fitted on every other fold."""
    margin = np.zeros(len(pairs))
    words = bigrams_in([text for p in pairs for text in (p.chosen, p.rejected)])
    rows = np.arange(2 * len(pairs), dtype=np.intp).reshape(-1, 2)
    for fold in range(FOLDS):
        train, test = rows[folds != fold], folds == fold
        if not len(train) or not test.any():
            continue
        scores = bigram_scores(words, train)
        margin[test] = (scores[rows[:, 0]] - scores[rows[:, 1]])[test]
    return margin


def bigrams_in(texts: Sequence[str]) -> Any:
    """[N, V] sparse, which words and which two neighbours are there."""
    words: Any = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"(?u)\b\w+\b")
    return words.fit_transform(texts).astype(np.float64).tocsr()


def bigram_scores(words: Any, pairs: Indices, penalty: float = 0.1) -> Array:
    """[N] a reward linear in words and bigrams: logistic regression on their differences between two texts.

    `pairs` [P, 2] number rows of `words` (`bigrams_in`), the preferred one first. Only what is in two of these texts at
    least counts, so that other rows have no part in the fit. Without intercept, each pair in both orders, so that order
    carries no information. `penalty` is scikit-learn's C: the smaller, the smaller the weights.
    """
    there = np.asarray(words[np.unique(pairs)].sum(axis=0)).ravel()
    known = words[:, np.flatnonzero(there >= MIN_TEXTS)]
    difference = known[pairs[:, 0]] - known[pairs[:, 1]]
    model = LogisticRegression(C=penalty, fit_intercept=False, max_iter=500)
    model.fit(vstack([difference, -difference], format="csr"), np.repeat([1, 0], len(pairs)))
    return np.asarray(known @ model.coef_[0])
