"""What people said of answers that a judge never saw, and what the judge says of them: its quality and calibration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the stubs of numpy and scipy are partial; what leaves this file is typed)

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import isotonic_regression, root_scalar
from scipy.special import expit

from thumbwheel_learner.measures import Array, Estimate, Indices, auc, bootstrap, numbered
from thumbwheel_learner.reward.labels import Item, Row
from thumbwheel_learner.reward.model import RewardScores


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
    """[N] 1 or 0; of pairs, 1, or 0.5 for a tie."""
    scores: Array
    """[N, K] of the judged answer, or of the preferred one."""
    others: Array
    """[N, K] of a pair's other answer; elsewhere the answer itself."""
    person: Indices
    """[N] who said it, as numbers from 0."""
    of: str = "all"
    """Whose words these are: those of the `random slice`, or of `all` who spoke up."""

    def where(self, chosen: Indices) -> "Checks":
        """Some of them."""
        liked, scores, others = (part[chosen] for part in (self.liked, self.scores, self.others))
        return Checks(self.pair[chosen], liked, scores, others, self.person[chosen], self.of)


def check(judge: RowScorer, items: Sequence[Item], enough: int = 30) -> Checks:
    """Let a judge score what people judged: of the random slice alone, if that holds `enough` for both of its uses.

    Who speaks up unasked is no random sample; what people say of conversations drawn at random is.
    """
    drawn = [i for i in items if i.random]
    liked = [_liked(i) for i in drawn if i.kind != "pair"]
    told_apart = sum(i.kind == "pair" for i in drawn) + 2 * min(liked.count(1.0), liked.count(0.0))
    from_slice = len(drawn) >= enough and told_apart >= enough
    items = drawn if from_slice else items
    rows = [row for item in items for row in (item.rows[0], item.rows[-1] if item.kind == "pair" else item.rows[0])]
    members: Array = judge.score_rows(rows).members.double().numpy() if rows else np.zeros((0, 1))
    return Checks(
        pair=np.array([i.kind == "pair" for i in items], dtype=bool),
        liked=np.array([_liked(i) for i in items], dtype=float),
        scores=members[0::2],
        others=members[1::2],
        person=numbered(i.user for i in items),
        of="random slice" if from_slice else "all",
    )


def _liked(item: Item) -> float:
    return item.value if item.kind == "pair" else float(item.value > (3 if item.kind == "rating" else 0.5))


def quality(checks: Checks, resamples: int, seed: int) -> Estimate:
    """How often a judge orders answers as unseen people did, with an interval over people.

    Thumbs, flags and ratings give P(a liked one scores above a disliked one); pairs count one by one. The two are
    averaged by how much each can tell (`_precisions`).
    """
    scores, others = checks.scores.mean(axis=1), checks.others.mean(axis=1)
    right = np.where((scores == others) | (checks.liked == 0.5), 0.5, scores > others)

    def figure(i: Indices) -> float:
        drawn = checks.where(i)
        by_votes, by_pairs = _precisions(drawn, np.ones(len(i)))
        alone = ~drawn.pair
        area = auc(scores[i][alone], drawn.liked[alone]) if by_votes else 0.5
        order = float(right[i][drawn.pair].mean()) if by_pairs else 0.5
        return (by_votes * area + by_pairs * order) / (by_votes + by_pairs) if by_votes + by_pairs else float("nan")

    return bootstrap(figure, checks.person.tolist(), resamples=resamples, seed=seed)


def _precisions(checks: Checks, weights: Array) -> tuple[float, float]:
    """What votes and pairs weigh: the inverse variance that each figure would have at chance, in pairs.

    4 n for the share of n pairs in the right order, 12 n1 n0 / (n1 + n0) for the area under n1 liked and n0 disliked
    answers (Mann and Whitney 1947): a hundred thumbs down and one up can tell as little as three pairs.
    """
    liked = float(weights[~checks.pair & (checks.liked == 1)].sum())
    disliked = float(weights[~checks.pair & (checks.liked == 0)].sum())
    votes = 3 * liked * disliked / (liked + disliked) if liked and disliked else 0.0
    return votes, float(weights[checks.pair].sum())


def line(checks: Checks) -> float:
    """The score half way between what people liked or preferred and what they did not; nan where one kind is missing.

    Of Gaussians of equal variance and size it tells the two apart best (Fisher 1936).
    """
    scores, others = checks.scores.mean(axis=1), checks.others.mean(axis=1)
    decided = checks.pair & (checks.liked == 1)
    liked = scores[checks.liked == 1]
    disliked = np.concatenate([scores[~checks.pair & (checks.liked == 0)], others[decided]])
    return float((liked.mean() + disliked.mean()) / 2) if len(liked) and len(disliked) else float("nan")


def preferred(checks: Checks, weights: Array, new: Array, old: Array) -> Array:
    """[P, n, K] scores of new and old answers to the same prompts -> [P, K] P(new preferred), by `weights` [N].

    By votes: a prompt's new answer wins where people would like it and not the old one, and ties are halved, so it is a
    half plus half the difference of P(liked). Scores become P(liked) through people's own votes (isotonic regression),
    because a judge that says 3 instead of 2 of an answer that everybody likes has found nothing out, and differences
    of raw scores are mostly that. By pairs: P(preferred) by the difference of the scores (`_slope`). The two are
    averaged as in `quality`. Nothing is shown where the judge knows nothing: both curves are flat.
    """
    by_votes, by_pairs = _precisions(checks, weights)
    out = np.full((len(new), new.shape[-1]), 0.5)
    for chosen, precision, read in ((~checks.pair, by_votes, _by_votes), (checks.pair, by_pairs, _by_pairs)):
        if precision:
            known, mine = checks.where(np.flatnonzero(chosen)), weights[chosen]
            columns = [read(known, mine, new[..., k], old[..., k], k) for k in range(new.shape[-1])]
            out += precision / (by_votes + by_pairs) * (np.stack(columns, axis=1) - 0.5)
    return out


def _by_votes(said: Checks, weights: Array, new: Array, old: Array, member: int) -> Array:
    x, y = said.scores[:, member], said.liked
    gain = _curve(x, y, weights, new) - _curve(x, y, weights, old)
    return 0.5 + gain.mean(axis=1) / 2


def _by_pairs(said: Checks, weights: Array, new: Array, old: Array, member: int) -> Array:
    margin = said.scores[:, member] - said.others[:, member]
    slope = _slope(margin, said.liked, weights)
    return expit(slope * (new[:, :, None] - old[:, None, :])).mean(axis=(1, 2))


def _slope(margin: Array, first: Array, weights: Array) -> float:
    """Of the log-odds that the first is preferred, by margin (Bradley and Terry 1952); 0 where it would be negative.

    One tie more at the usual margin keeps it finite for a judge that is always right. A curve without a form would
    leap at 0, since hardly a correction is a close call, and make a sure win of every small gain.
    """
    usual = float(np.sqrt(np.average(margin**2, weights=weights)))
    if not usual:
        return 0.0
    x, y, w = np.append(margin, usual), np.append(first, 0.5), np.append(weights, 1.0)

    def uphill(slope: float) -> float:
        return float(np.sum(w * x * (y - expit(slope * x))))

    return float(root_scalar(uphill, bracket=(0.0, 100.0 / usual)).root) if uphill(0.0) > 0 else 0.0


def _curve(x: Array, y: Array, weights: Array, at: Array) -> Array:
    """Isotonic regression of y on x, of which some has weight, read off at other points; constant beyond the ends."""
    held = weights > 0
    points, where = np.unique(x[held], return_inverse=True)
    mass = np.bincount(where, weights=weights[held])
    mean = np.bincount(where, weights=weights[held] * y[held]) / mass
    return np.interp(at, points, isotonic_regression(mean, weights=mass).x)
