"""The rewards that are compared, each fitted on some pairs and asked about others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.real_rewards.preferences import Preferences
from thumbwheel_learner.measures import sigmoid
from thumbwheel_learner.reward.baselines import FOLDS, bigram_scores, fold_of
from thumbwheel_learner.reward.heads import HeadsConfig, Labels, RewardHeads

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
PENALTIES = (0.001, 0.003, 0.01, 0.03)
"""scikit-learn's C of the bigrams; inner validation chooses."""
CHECK = 0.25
"""Share of the training clusters that choose settings and temperature; the reward is then fitted on all of them."""


@dataclass(frozen=True)
class Block:
    """Features of one kind; those of many dimensions are reduced to principal components."""

    features: Array
    """[A, F]"""
    width: int | None = None
    """Principal components; None: as they are."""


class Choice(NamedTuple):
    """Settings of heads that inner validation chooses from."""

    words: bool
    """Whether they read what the bigrams say."""
    weight_decay: float


WEIGHT_DECAYS = (0.1, 0.3)
CHOICES = tuple(Choice(words, decay) for words in (False, True) for decay in WEIGHT_DECAYS)
PRIOR_SCALE = 0.3


class Told(NamedTuple):
    """What a reward says of pairs that it has not seen."""

    margins: Array
    """[P] > 0 where the preferred answer scores higher."""
    stated: Array
    """[P] calibrated probability that the first is preferred."""
    disagreement: Array
    """[P]"""
    chosen: str


class Split(NamedTuple):
    """Numbers of pairs; `fit` and `check` are parts of `train` that share no cluster."""

    train: Indices
    fit: Indices
    check: Indices
    test: Indices


def splits(clusters: Sequence[str], seed: int) -> list[Split]:
    """Five folds, clusters whole."""
    fold = fold_of(clusters, seed)
    found: list[Split] = []
    for number in range(FOLDS):
        train = np.flatnonzero(fold != number)
        inner = fold_of(clusters_of(clusters, train), 1000 + seed)
        check = inner < max(1, round(CHECK * FOLDS))
        found.append(Split(train, train[~check], train[check], np.flatnonzero(fold == number)))
    return found


def clusters_of(clusters: Sequence[str], pairs: Indices) -> list[str]:
    """Of these pairs."""
    return [clusters[int(i)] for i in pairs]


def by_length(data: Preferences) -> Array:
    """[P] characters that the preferred answer is longer by."""
    length = np.array([len(a) for a in data.answers], dtype=np.float64)
    return length[data.pairs[:, 0]] - length[data.pairs[:, 1]]


def bigrams(data: Preferences, words: Any, split: Split) -> tuple[Told, float]:
    """The bag of bigrams, and its penalty, chosen on pairs that it was not fitted on; `words` by `bigrams_in`."""

    def margins(pairs: Indices, penalty: float, asked: Indices) -> Array:
        scores = bigram_scores(words, data.pairs[pairs], penalty)
        return scores[data.pairs[asked, 0]] - scores[data.pairs[asked, 1]]

    losses = {c: _loss(margins(split.fit, c, split.check)) for c in PENALTIES}
    best = min(losses, key=lambda c: losses[c])
    told = margins(split.train, best, split.test)
    return Told(told, sigmoid(told), np.zeros(len(told)), f"C {best}"), best


def stacked(data: Preferences, words: Any, pairs: Indices, penalty: float) -> Array:
    """[A, 1] what bigrams fitted on these pairs say of answers, of each of theirs without its own cluster.

    So a reward that reads it learns how far to trust bigrams on what they have not seen (Wolpert 1992).
    """
    scores = bigram_scores(words, data.pairs[pairs], penalty)
    fold = fold_of(clusters_of(data.clusters, pairs), 0)
    for number in range(FOLDS):
        own = np.unique(data.pairs[pairs[fold == number]])
        scores[own] = bigram_scores(words, data.pairs[pairs[fold != number]], penalty)[own]
    return scores[:, None]


def heads(data: Preferences, blocks: Sequence[Block], split: Split, seed: int, words: tuple[Any, float] | None) -> Told:
    """Heads on these features, and on bigrams where `words` and their penalty are given.

    Scaling, components, settings and temperature come from training clusters alone.
    """

    def features_of(pairs: Indices) -> dict[bool, Array]:
        answers = np.unique(data.pairs[pairs])
        plain = np.hstack([reduced(block, answers) for block in blocks])
        if words is None:
            return {False: plain}
        return {False: plain, True: np.hstack([plain, stacked(data, words[0], pairs, words[1])])}

    def fitted(pairs: Indices, features: Array, weight_decay: float) -> RewardHeads:
        config = HeadsConfig(hidden=0, prior_scale=PRIOR_SCALE, weight_decay=weight_decay, seed=seed)
        model = RewardHeads(features[np.unique(data.pairs[pairs])], config)
        model.fit(features, Labels(pairs=data.pairs[pairs], pair_groups=clusters_of(data.clusters, pairs)))
        return model

    asked, known = data.pairs[split.check], features_of(split.fit)
    losses: dict[Choice, tuple[float, float]] = {}
    for choice in (c for c in CHOICES if c.words in known):
        features = known[choice.words]
        model = fitted(split.fit, features, choice.weight_decay)
        model.calibrate(features, asked)
        losses[choice] = (_loss(model.margins(features, asked).mean / model.temperature), model.temperature)
    best = min(losses, key=lambda c: losses[c])
    features = features_of(split.train)[best.words]
    model = fitted(split.train, features, best.weight_decay)
    model.temperature = losses[best][1]
    told = model.margins(features, data.pairs[split.test])
    said = f"{'with' if best.words else 'without'} bigrams, weight decay {best.weight_decay}"
    return Told(told.mean, told.stated, told.disagreement, said)


def reduced(block: Block, answers: Indices) -> Array:
    """[A, width]: principal components, their mean square 1 in all, of standardised features of these answers."""
    if block.width is None:
        return block.features
    here = block.features[answers]
    deviation = here.std(axis=0)
    scaled = (block.features - here.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    _, directions = np.linalg.eigh(scaled[answers].T @ scaled[answers])
    return scaled @ directions[:, ::-1][:, : block.width]


def _loss(margins: Array) -> float:
    return float(np.logaddexp(0.0, -margins).mean())
