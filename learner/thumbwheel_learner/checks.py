"""What people said of answers that a judge never saw, and what the judge says of them: its quality and calibration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of numpy and scipy are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import isotonic_regression

from thumbwheel_learner.labels import Item, Row
from thumbwheel_learner.measures import Array, Estimate, auc, bootstrap, numbered
from thumbwheel_learner.reward import RewardScores

Indices = np.ndarray[Any, np.dtype[np.intp]]


class RowScorer(Protocol):
    """What is asked of a judge's model here."""

    def score_rows(self, rows: Sequence[Row]) -> RewardScores:
        """Scores of token rows."""
        ...


class Checks(NamedTuple):
    """N human judgements, K members; thumbs, ratings and flags are read as liked or not."""

    pair: np.ndarray[Any, np.dtype[np.bool_]]
    """[N] two answers compared, the preferred one first."""
    liked: Array
    """[N] 1 or 0; means nothing for pairs."""
    scores: Array
    """[N, K] of the judged answer, or of the preferred one."""
    others: Array
    """[N, K] of a pair's other answer; elsewhere the answer itself."""
    person: Indices
    """[N] who said it, as numbers from 0."""


def check(judge: RowScorer, items: Sequence[Item]) -> Checks:
    """Let a judge score what people judged."""
    rows = [row for item in items for row in (item.rows[0], item.rows[-1] if item.kind == "pair" else item.rows[0])]
    members: Array = judge.score_rows(rows).members.double().numpy() if rows else np.zeros((0, 1))
    return Checks(
        pair=np.array([i.kind == "pair" for i in items], dtype=bool),
        liked=np.array([i.value > (3 if i.kind == "rating" else 0.5) for i in items], dtype=float),
        scores=members[0::2],
        others=members[1::2],
        person=numbered(i.user for i in items),
    )


def quality(checks: Checks, resamples: int, seed: int) -> Estimate:
    """How often a judge orders answers as unseen people did, with an interval over people.

    Thumbs, flags and ratings give P(a liked one scores above a disliked one); pairs count one by one. The two are
    averaged by their number.
    """
    scores, others = checks.scores.mean(axis=1), checks.others.mean(axis=1)
    right = (scores > others) + 0.5 * (scores == others)

    def figure(i: Indices) -> float:
        pairs, alone = i[checks.pair[i]], i[~checks.pair[i]]
        parts = [(float(right[pairs].mean()), len(pairs))] if len(pairs) else []
        area = auc(scores[alone], checks.liked[alone]) if len(alone) else float("nan")
        parts += [(area, len(alone))] if np.isfinite(area) else []
        return sum(p * n for p, n in parts) / sum(n for _, n in parts) if parts else float("nan")

    return bootstrap(figure, checks.person.tolist(), resamples=resamples, seed=seed)


def preferred(checks: Checks, weights: Array, new: Array, old: Array) -> Array:
    """[P, n, K] scores of new and old answers to the same prompts -> [P, K] P(new preferred), by `weights` [N].

    With more thumbs than pairs among the checks: a prompt's new answer wins where people would like it and not the old
    one, and ties are halved, so it is a half plus half the difference of P(liked). Scores become P(liked) through
    people's own votes (isotonic regression), because a judge that says 3 instead of 2 of an answer that everybody
    likes has found nothing out, and differences of raw scores are mostly that. With more pairs: P(preferred) by the
    difference of the scores, likewise. Both curves are flat, and nothing is shown, where the judge knows nothing.
    """
    by_votes = 2 * int(checks.pair.sum()) <= len(checks.pair)
    chosen = checks.pair != by_votes
    x, other, y, w = (part[chosen] for part in (checks.scores, checks.others, checks.liked, weights))
    columns: list[Array] = []
    for k in range(new.shape[-1]):
        if by_votes:
            gain = _curve(x[:, k], y, w, new[..., k]) - _curve(x[:, k], y, w, old[..., k])
            columns.append(0.5 + gain.mean(axis=1) / 2)
            continue
        margin = x[:, k] - other[:, k]
        both, first = np.concatenate([margin, -margin]), np.repeat([1.0, 0.0], len(margin))
        asked = new[:, :, None, k] - old[:, None, :, k]
        columns.append(_curve(both, first, np.tile(w, 2), asked).mean(axis=(1, 2)))
    return np.stack(columns, axis=1)


def _curve(x: Array, y: Array, weights: Array, at: Array) -> Array:
    """Isotonic regression of y on x read off at other points; constant beyond the ends; 0.5 without any weight."""
    held = weights > 0
    points, where = np.unique(x[held], return_inverse=True)
    if not len(points):
        return np.full(at.shape, 0.5)
    mass = np.bincount(where, weights=weights[held])
    mean = np.bincount(where, weights=weights[held] * y[held]) / mass
    return np.interp(at, points, isotonic_regression(mean, weights=mass).x)
