"""The figures of the selection bias experiment over all seeds, against its bar."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.report.intervals import crossed_interval
from thumbwheel_demo.report.record import Interval

FULL, BAR = "reviews", ("unweighted", "features")
"""Weights with satisfaction, and the arms that they must beat."""


class Errors(Struct, frozen=True, kw_only=True):
    """Of P(satisfied)."""

    squared: dict[str, float]
    """By conversation, mean over its answers: the Brier score."""
    mean: float
    """Of the mean, with its sign."""
    topic: float
    """Absolute error of the mean by topic, averaged over topics."""


class Arm(Struct, frozen=True, kw_only=True):
    """One way of weighing, one seed."""

    unseen: Errors
    """On chats like those that were voted on."""
    heldout: Errors
    """On candidates for held-out prompts, which the policy answers worse."""
    votes_mean: float | None
    """Absolute error of the weighed share of up-votes as the satisfaction of all chats; None without weights."""
    votes_topic: float | None
    """The same by topic, averaged over topics."""


class Fit(Struct, frozen=True, kw_only=True):
    """How far the weights are to be believed, as the learner says."""

    basis: str
    reason: str
    stands_for: float | None
    clipped: float
    effective: float
    odds_of_satisfied: float | None
    calibration: dict[str, Any] | None


class Cell(Struct, frozen=True, kw_only=True):
    """One seed."""

    seed: int
    settings: dict[str, Any]
    arms: dict[str, Arm]
    fits: dict[str, Fit]
    votes: int
    satisfied: float
    """Share of all chats,"""
    voted_satisfied: float
    """and of those with a vote."""
    seconds: float


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm over all seeds."""

    squared: Interval
    against: Interval
    """Squared error of weights with satisfaction less this arm's, on the same seeds and chats."""
    mean: Interval
    topic: Interval
    topic_against: Interval
    heldout_squared: Interval
    heldout_against: Interval
    heldout_mean: Interval
    votes_mean: Interval | None
    votes_topic: Interval | None


class FitFigures(Struct, frozen=True, kw_only=True):
    """Means over seeds."""

    bases: dict[str, int]
    predicted: float
    observed: float
    ece: float
    ece_by_chance: float
    stands_for: float
    clipped: float
    effective: float
    """Share of the votes."""


class Summary(Struct, frozen=True, kw_only=True):
    """Everything the experiment found."""

    settings: dict[str, Any]
    seeds: list[int]
    arms: dict[str, ArmFigures]
    fits: dict[str, FitFigures]
    votes: float
    satisfied: float
    voted_satisfied: float
    passed: bool
    seconds: float
    schema_version: int = 1


def summary(cells: Sequence[Cell]) -> Summary:
    """All seeds; raises `ValueError` without cells."""
    if not cells:
        raise ValueError("no cells to sum up")
    arms = {name: _arm(cells, name) for name in cells[0].arms}
    return Summary(
        settings=cells[0].settings,
        seeds=[c.seed for c in cells],
        arms=arms,
        fits={name: _fit(cells, name) for name in cells[0].fits},
        votes=float(np.mean([c.votes for c in cells])),
        satisfied=float(np.mean([c.satisfied for c in cells])),
        voted_satisfied=float(np.mean([c.voted_satisfied for c in cells])),
        passed=all(arms[name].against.high < 0 for name in BAR),
        seconds=sum(c.seconds for c in cells),
    )


def _arm(cells: Sequence[Cell], name: str) -> ArmFigures:
    def squared(arm: str, where: Callable[[Arm], Errors]) -> Any:
        return np.array([list(where(c.arms[arm]).squared.values()) for c in cells])

    def against(where: Callable[[Arm], Errors]) -> Interval:
        return crossed_interval(squared(FULL, where) - squared(name, where))

    def over_seeds(figure: Callable[[Arm], float]) -> Interval:
        return crossed_interval(np.array([[figure(c.arms[name])] for c in cells]))

    def known(figure: Callable[[Arm], float | None]) -> Interval | None:
        values = [figure(c.arms[name]) for c in cells]
        there = [[v] for v in values if v is not None]
        return crossed_interval(np.array(there)) if len(there) == len(values) else None

    return ArmFigures(
        squared=crossed_interval(squared(name, unseen)),
        against=against(unseen),
        mean=over_seeds(lambda a: a.unseen.mean),
        topic=over_seeds(lambda a: a.unseen.topic),
        topic_against=crossed_interval(
            np.array([[c.arms[FULL].unseen.topic - c.arms[name].unseen.topic] for c in cells])
        ),
        heldout_squared=crossed_interval(squared(name, heldout)),
        heldout_against=against(heldout),
        heldout_mean=over_seeds(lambda a: a.heldout.mean),
        votes_mean=known(lambda a: a.votes_mean),
        votes_topic=known(lambda a: a.votes_topic),
    )


def unseen(arm: Arm) -> Errors:
    """Where the bar is."""
    return arm.unseen


def heldout(arm: Arm) -> Errors:
    """Where prompts differ from those that were voted on."""
    return arm.heldout


def _fit(cells: Sequence[Cell], name: str) -> FitFigures:
    fits = [c.fits[name] for c in cells]
    told = [f.calibration for f in fits if f.calibration]

    def mean(key: str) -> float:
        return float(np.mean([c[key] for c in told])) if told else float("nan")

    bases = [f.basis for f in fits]
    return FitFigures(
        bases={basis: bases.count(basis) for basis in dict.fromkeys(bases)},
        predicted=mean("predicted"),
        observed=mean("observed"),
        ece=mean("ece"),
        ece_by_chance=mean("ece_by_chance"),
        stands_for=float(np.mean([np.nan if f.stands_for is None else f.stands_for for f in fits])),
        clipped=float(np.mean([f.clipped for f in fits])),
        effective=float(np.mean([f.effective / max(1, c.votes) for f, c in zip(fits, cells, strict=True)])),
    )


def write_table(found: Summary, file: Path, console: Console) -> None:
    """The tables on the terminal and, plain, in a file."""
    titles = ("unseen chats: squared error", "reviews less this", "mean", "by topic", "reviews less this")
    more = ("held-out prompts: squared error", "reviews less this", "mean", "votes: mean", "votes: by topic")
    arms = Table(title=f"Errors of P(satisfied), {len(found.seeds)} seeds", title_justify="left", show_lines=True)
    for title in ("", *found.arms):
        arms.add_column(title, justify="right" if title else "left")
    rows = [
        (
            *(a.squared, a.against, a.mean, a.topic, a.topic_against),
            *(a.heldout_squared, a.heldout_against, a.heldout_mean, a.votes_mean, a.votes_topic),
        )
        for a in found.arms.values()
    ]
    for title, *figures in zip((*titles, *more), *rows, strict=True):
        arms.add_row(str(title), *map(number, figures))
    fits = Table(title="P(vote), means over seeds", title_justify="left")
    columns = ("weights", "basis", "predicted", "observed", "ECE", "by chance", "stands for", "clipped", "effective")
    for title in columns:
        fits.add_column(title, justify="right")
    for name, f in found.fits.items():
        basis = ", ".join(f"{basis} {count}" for basis, count in f.bases.items())
        figures = (f.predicted, f.observed, f.ece, f.ece_by_chance, f.stands_for)
        fits.add_row(name, basis, *(f"{x:.3f}" for x in figures), f"{f.clipped:.1%}", f"{f.effective:.0%}")
    said = (
        f"{found.votes:.0f} votes a seed; satisfied: {found.satisfied:.1%} of all, {found.voted_satisfied:.1%} of "
        f"voters; bar {'met' if found.passed else 'missed'}; {found.seconds:.0f} s"
    )
    with file.open("w", encoding="utf-8") as out:
        for to in (console, Console(file=out, width=200)):
            to.print(arms)
            to.print(fits)
            to.print(said, highlight=False)


def number(interval: Interval | None) -> str:
    """`0.123 [0.120, 0.126]`"""
    return "" if interval is None else f"{interval.mean:.4f}\n[{interval.low:.4f}, {interval.high:.4f}]"
