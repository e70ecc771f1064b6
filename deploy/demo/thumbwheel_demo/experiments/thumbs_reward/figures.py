"""What the reward models of all seeds are worth: every figure by arm, with intervals that redraw seeds and people."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from thumbwheel_demo.experiments.thumbs_reward.arms import Cell, Said
from thumbwheel_demo.report.record import Interval
from thumbwheel_learner.measures import Array, Calibration, auc, correlation, ece, numbered, sigmoid

RESAMPLES, SEED = 400, 20_011
RATIO, CALIBRATION, WARNING, FEWEST = 0.95, 0.05, 0.6, 3_000
"""The bars: of the oracle's AUC at least, ECE at most, AUROC of the disagreement at least, on so many thumbs."""
DEFAULT = "default"
Figure = Callable[["View"], float]


class View:
    """Some rows of what a model said, as arrays."""

    def __init__(self, said: Said, calibration: Calibration, rows: NDArray[np.intp] | None = None) -> None:
        at = np.arange(len(said.who)) if rows is None else rows
        self.thumbs: Array = np.array(said.thumbs, dtype=float)[at] if said.thumbs else np.zeros(0)
        self.satisfied: Array = np.array(said.satisfied, dtype=float)[at]
        self.tokens: Array = np.array(said.tokens, dtype=float)[at]
        self.members: Array = np.array(said.members, dtype=float)[at] / calibration.temperature
        """[N, K] calibrated logits; one calibration, fitted on the model's own held-out labels, never on these."""
        self.mean: Array = self.members.mean(axis=1)
        self._certain = calibration._replace(temperature=1.0)

    def up(self, logits: Array) -> Array:
        """P(thumb up), mistakes included."""
        return self._certain.apply(logits)

    def errors(self) -> Array:
        """[N] 1 where the reward takes a satisfied customer for an unsatisfied one, or the other way round."""
        return ((self.mean > 0) != (self.satisfied > 0.5)).astype(float)


def _within(view: View) -> float:
    """Correlation with length at equal satisfaction: of the residuals after both groups' means are taken out."""
    scores, tokens = view.mean.copy(), view.tokens.copy()
    for kind in (0.0, 1.0):
        mine = view.satisfied == kind
        if mine.any():
            scores[mine] -= scores[mine].mean()
            tokens[mine] -= tokens[mine].mean()
    return correlation(scores, tokens)


ON_THUMBS: Mapping[str, Figure] = {
    "auc": lambda v: auc(v.mean, v.thumbs),
    "oracle_auc": lambda v: auc(v.satisfied, v.thumbs),
    "auc_of_oracle": lambda v: auc(v.mean, v.thumbs) / auc(v.satisfied, v.thumbs),
    "ece": lambda v: ece(v.up(v.mean), v.thumbs),
    "single_auc_of_oracle": lambda v: auc(v.members[:, 0], v.thumbs) / auc(v.satisfied, v.thumbs),
    "single_ece": lambda v: ece(v.up(v.members[:, 0]), v.thumbs),
    "wrong_thumbs_by_chances": lambda v: auc(sigmoid(v.members).std(axis=1), (v.mean > 0) != (v.thumbs > 0.5)),
}
"""Against the noisy thumbs themselves."""
ON_TRUTH: Mapping[str, Figure] = {
    "true_auc": lambda v: auc(v.mean, v.satisfied),
    "errors": lambda v: float(v.errors().mean()),
    "single_true_auc": lambda v: auc(v.members[:, 0], v.satisfied),
    "disagreement_of_chances": lambda v: auc(sigmoid(v.members).std(axis=1), v.errors()),
    "disagreement_of_scores": lambda v: auc(v.members.std(axis=1), v.errors()),
    "near_the_threshold": lambda v: auc(-np.abs(v.mean), v.errors()),
    "length_correlation": lambda v: correlation(v.mean, v.tokens),
    "length_at_equal_satisfaction": _within,
    "satisfied_with_length": lambda v: correlation(v.satisfied, v.tokens),
}
"""Against the hidden satisfaction."""


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One arm over its seeds."""

    arm: str
    seeds: list[int]
    labels: float
    thumbs: int
    """Held out, the fewest of any seed."""
    held_out: dict[str, Interval]
    moved: dict[str, Interval]
    less_default: dict[str, Interval]
    """Figures less those of the arm it is to be compared with, on the same rows: `held_out.x`, `moved.x`."""
    seconds: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All arms, and whether the default one meets the bars."""

    arms: list[ArmFigures]
    met: dict[str, bool]
    schema_version: int = 1


def summary(cells: Sequence[Cell]) -> Summary:
    """Figures of all arms over their seeds; raises `ValueError` without cells."""
    if not cells:
        raise ValueError("no cells to sum up")
    by_arm: dict[str, list[Cell]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm, []).append(cell)
    arms = [_arm(mine, by_arm.get(_baseline(name), [])) for name, mine in by_arm.items()]
    first = arms[0]
    for arm in arms:
        first = arm if arm.arm == DEFAULT else first
    said = first.held_out["disagreement_of_chances"]
    met = {
        "thumbs": first.thumbs >= FEWEST,
        "auc_of_oracle": first.held_out["auc_of_oracle"].mean >= RATIO,
        "ece": first.held_out["ece"].mean <= CALIBRATION,
        "disagreement": said.mean >= WARNING and said.low > 0.5,
    }
    return Summary(arms=arms, met=met)


def _baseline(arm: str) -> str:
    """The arm with the same voters and nothing set."""
    return "impressed" if arm.startswith("impressed") else DEFAULT


def _arm(mine: Sequence[Cell], baseline: Sequence[Cell]) -> ArmFigures:
    pairs = [(c, b) for c in mine for b in baseline if b.seed == c.seed and b.arm != c.arm]
    on_held_out, on_moved = {**ON_THUMBS, **ON_TRUTH}, ON_TRUTH
    return ArmFigures(
        arm=mine[0].arm,
        seeds=[c.seed for c in mine],
        labels=float(np.mean([c.labels for c in mine])),
        thumbs=min(len(c.held_out.thumbs) for c in mine),
        held_out=_redrawn([[(c.held_out, _calibration(c))] for c in mine], on_held_out),
        moved=_redrawn([[(c.moved, _calibration(c))] for c in mine], on_moved),
        less_default={
            **_redrawn([[(x.held_out, _calibration(x)) for x in pair] for pair in pairs], on_held_out, "held_out."),
            **_redrawn([[(x.moved, _calibration(x)) for x in pair] for pair in pairs], on_moved, "moved."),
        }
        if pairs
        else {},
        seconds=float(np.mean([c.seconds for c in mine])),
    )


def _calibration(cell: Cell) -> Calibration:
    """Without the shift, which is in the logits already."""
    return Calibration(cell.temperature, 0.0, cell.lapse)


def _redrawn(
    seeds: Sequence[Sequence[tuple[Said, Calibration]]], figures: Mapping[str, Figure], prefix: str = ""
) -> dict[str, Interval]:
    """Mean over seeds of each figure, or of its first less its second model's, which said something of the same rows.

    95% percentile bootstrap in two stages: seeds, and in each the people (or prompts) with all of their rows.
    """

    def at(models: Sequence[tuple[Said, Calibration]], rows: NDArray[np.intp] | None) -> list[float]:
        views = [View(said, calibration, rows) for said, calibration in models]
        return [figure(views[0]) - (figure(views[1]) if len(views) > 1 else 0.0) for figure in figures.values()]

    means = np.mean([at(models, None) for models in seeds], axis=0)
    rng = np.random.default_rng(SEED)
    people = [_rows_by_person(models[0][0]) for models in seeds]
    drawn: list[NDArray[np.float64]] = []
    for _ in range(RESAMPLES):
        found: list[list[float]] = []
        again: list[int] = rng.integers(len(seeds), size=len(seeds)).tolist()
        for seed in again:
            groups = people[seed]
            chosen: list[int] = rng.integers(len(groups), size=len(groups)).tolist()
            rows: NDArray[np.intp] = np.concatenate([groups[i] for i in chosen])
            found.append(at(seeds[seed], rows))
        drawn.append(np.mean(found, axis=0))
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    return {
        prefix + name: Interval(mean=float(means[i]), low=float(low[i]), high=float(high[i]))
        for i, name in enumerate(figures)
    }


def _rows_by_person(said: Said) -> list[NDArray[np.intp]]:
    member = numbered(said.who)
    return [np.flatnonzero(member == i) for i in range(int(member.max()) + 1)]
