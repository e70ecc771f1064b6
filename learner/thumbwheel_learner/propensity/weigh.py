"""From conversations, votes and the random slice to a weight per vote, and how far it is to be believed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from thumbwheel_learner.measures import Array, brier, ece, reliability
from thumbwheel_learner.propensity.model import (
    FOLDS,
    SEED,
    Desk,
    VoteModel,
    choose_ridge,
    fit_by_features,
    fit_by_reviews,
    folds,
)

Basis = Literal["reviews", "features", "none"]
DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class PropensityConfig:
    """When there is enough to go by, and how much one vote may weigh; raises `ValueError` on senseless numbers."""

    min_reviews: int = 100
    """Conversations in the random slice without which satisfaction is left out,"""
    min_cell: int = 10
    """and of each kind: satisfied or not, with a vote or without."""
    min_votes: int = 50
    """With fewer votes, or fewer conversations without one, every vote weighs 1."""
    most: float = 10.0
    """A vote weighs at most so many times what the median vote does."""
    at_their_word: bool = False
    """Whether a vote counts as satisfaction although reviewers of the same conversations may differ."""

    def __post_init__(self) -> None:
        if min(self.min_reviews, self.min_cell, self.min_votes) < 1 or not 1 <= self.most < np.inf:
            raise ValueError("min_reviews, min_cell and min_votes must be 1 at least, most finite and 1 at least")


class Calibration(NamedTuple):
    """Predictions of P(vote) for conversations that the model had not seen, against who voted."""

    predicted: float
    observed: float
    ece: float
    """Over bins of equal mass (Nixon et al. 2019, arXiv:1904.01685)."""
    ece_by_chance: float
    """What it would be on average if every prediction were exactly right: so few conversations scatter so much."""
    brier: float
    bins: list[dict[str, float]]
    n: int


class VoteWeights(NamedTuple):
    """What each vote is worth, and why one should believe it."""

    weights: Array
    """[N] mean 1 over the votes, 0 where there is none."""
    basis: Basis
    """What P(vote) depends on: satisfaction and features, features alone, or nothing: all weights are equal."""
    reason: str
    """Why not on satisfaction; empty where it does."""
    reviews: int
    ridge: float | None
    """Penalty that the slice chose."""
    odds_of_satisfied: float | None
    """Odds of a vote of who is satisfied over those of who is not, at the features' mean."""
    mistaken: float | None
    """Share of votes in the random slice that reviewers contradict."""
    stands_for: float
    """Sum of 1 / P(vote) over the votes, unclipped, per conversation: 1 unless the fit went wrong."""
    clipped: float
    """Share of votes whose weight met the bound."""
    effective: float
    """Number of equal votes that would be as sure of a mean (Kish 1965)."""
    calibration: Calibration | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, without the weights."""
        calibration = self.calibration._asdict() if self.calibration else None
        return {k: v for k, v in self._asdict().items() if k != "weights"} | {"calibration": calibration}


def weigh_votes(desk: Desk, config: PropensityConfig | None = None) -> VoteWeights:
    """Each vote by the clipped inverse of P(vote | features, satisfaction), satisfaction by what the vote says.

    With too small a random slice by the features alone, and with too few votes not at all: `basis` and `reason` say
    so. The same desk gives the same weights. Horvitz and Thompson 1952; clipped: Ionides 2008; for recommenders:
    Schnabel et al. 2016 (arXiv:1602.05352). Raises `NoFit`.
    """
    config = config or PropensityConfig()
    basis, reason = _basis(desk, config)
    if basis == "none":
        return _equal(desk, reason)
    ridge = choose_ridge(desk) if basis == "reviews" else None

    def fit(some: Desk) -> VoteModel:
        if ridge is None:
            return fit_by_features(some)
        return fit_by_reviews(some, ridge, at_their_word=config.at_their_word)

    model = fit(desk)
    said = desk.only(desk.voted)
    raw = model.inverse(said)
    kept = np.minimum(raw, config.most * float(np.median(raw)))
    weights = np.zeros(len(desk.voted))
    weights[desk.voted] = kept / kept.mean()
    return VoteWeights(
        weights=weights,
        basis=basis,
        reason=reason,
        reviews=int(desk.reviewed.sum()),
        ridge=ridge,
        odds_of_satisfied=None if ridge is None else float(np.exp(model.gamma[0])),
        mistaken=None if ridge is None else _mistaken(desk.only(desk.reviewed & desk.voted)),
        stands_for=float(raw.sum() / len(desk.voted)),
        clipped=float(np.mean(kept < raw)),
        effective=effective(kept),
        calibration=calibration(*_unseen(desk, fit, by_reviews=ridge is not None)),
    )


def lacking(desk: Desk, config: PropensityConfig) -> str:
    """What is missing for weights that know of satisfaction; empty where nothing is."""
    return _basis(desk, config)[1]


def _equal(desk: Desk, reason: str) -> VoteWeights:
    weights, reviews = desk.voted.astype(np.float64), int(desk.reviewed.sum())
    return VoteWeights(weights, "none", reason, reviews, None, None, None, float("nan"), 0.0, effective(weights), None)


def effective(weights: Array) -> float:
    """(Σw)² / Σw², the effective sample size (Kish 1965, *Survey Sampling*); 0 without weights."""
    return float(weights.sum() ** 2 / np.sum(weights**2)) if np.any(weights > 0) else 0.0


def calibration(chances: Array, voted: Array) -> Calibration:
    """How far P(vote) [N] fits `voted` [N], 1 or 0."""
    rng = np.random.default_rng(SEED)
    drawn = [ece(chances, (rng.random(len(chances)) < chances).astype(np.float64)) for _ in range(DRAWS)]
    return Calibration(
        predicted=float(chances.mean()),
        observed=float(voted.mean()),
        ece=ece(chances, voted),
        ece_by_chance=float(np.mean(drawn)),
        brier=brier(chances, voted),
        bins=reliability(chances, voted),
        n=len(voted),
    )


def _mistaken(both: Desk) -> float:
    return float(np.mean(np.abs(both.up - both.satisfied)))


def _unseen(desk: Desk, fit: Callable[[Desk], VoteModel], *, by_reviews: bool) -> tuple[Array, Array]:
    """P(vote) by models fitted without the conversation's fold, and who voted; of the random slice where satisfaction
    matters, since it is known of nobody else who kept silent."""
    at = np.flatnonzero(desk.reviewed) if by_reviews else np.arange(len(desk.voted))
    fold = folds(len(at))
    chances = np.zeros(len(at))
    for n in range(FOLDS):
        held = np.zeros(len(desk.voted), dtype=np.bool_)
        held[at[fold == n]] = True
        said = np.where(by_reviews, desk.satisfied[held], 0.5)
        chances[fold == n] = fit(desk.only(~held)).chances(desk.features[held], said)
    return chances, desk.voted[at].astype(np.float64)


def _basis(desk: Desk, config: PropensityConfig) -> tuple[Basis, str]:
    votes = int(desk.voted.sum())
    if min(votes, len(desk.voted) - votes) < config.min_votes:
        silent = len(desk.voted) - votes
        return "none", f"{votes} votes and {silent} conversations without one, wanted {config.min_votes} of each"
    reviews = int(desk.reviewed.sum())
    if reviews < config.min_reviews:
        return "features", f"{reviews} reviews of the random slice, wanted {config.min_reviews}"
    slice_ = desk.only(desk.reviewed)
    cells = np.bincount((2 * slice_.voted + slice_.satisfied).astype(np.intp), minlength=4)
    if cells.min() < config.min_cell:
        names = ("dissatisfied without a vote", "satisfied without a vote", "dissatisfied voters", "satisfied voters")
        return "features", f"{cells.min()} {names[int(cells.argmin())]} in the random slice, wanted {config.min_cell}"
    return "reviews", ""
