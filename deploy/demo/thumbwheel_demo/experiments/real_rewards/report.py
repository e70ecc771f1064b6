"""The figures of the real-data experiment over all seeds, against its bars."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.real_rewards.rewards import clusters_of
from thumbwheel_demo.report.record import Interval
from thumbwheel_learner.measures import Indices, auc, bootstrap, ece

Array = NDArray[np.float64]
BASELINES = ("longer wins", "shorter wins", "surface", "bigrams")
REWARD = "reward"
MATCHED = 0.1
"""Answers are of one length where the logarithms of their characters differ by less."""
AUROC = 0.6
JUDGED = "judged_responses"
"""Where pairs of one length are a bar: there length alone decides most of the others."""
RESAMPLES = 1000


class Cell(Struct, frozen=True, kw_only=True):
    """One data set, one way to cut it in folds; lists are by pair, in the order of the file."""

    data: str
    seed: int
    settings: dict[str, Any]
    margins: dict[str, list[float]]
    """By arm, > 0 where the preferred answer scores higher."""
    stated: list[float]
    """What the reward calls the probability that the preferred answer is preferred."""
    disagreement: list[float]
    chosen: dict[str, list[str]]
    """Settings by arm and fold."""
    seconds: float


class DataFigures(Struct, frozen=True, kw_only=True):
    """One data set over all seeds; intervals redraw clusters (instructions or conversations), not folds."""

    data: str
    pairs: int
    clusters: int
    accuracy: dict[str, Interval]
    over: dict[str, Interval]
    """Accuracy of the reward less that of each baseline, on the same pairs."""
    best_baseline: str
    over_best: Interval
    over_best_of_resample: Interval
    """Less that of the best baseline of each resample: what choosing among them is worth is counted against us."""
    matched_pairs: int
    matched: dict[str, Interval]
    """Accuracy on pairs of one length."""
    auroc: Interval
    """P(the reward's members disagree more about a pair that it gets wrong than about one that it gets right)."""
    ece: Interval
    passed: dict[str, bool]


class Summary(Struct, frozen=True, kw_only=True):
    """Everything the experiment found."""

    settings: dict[str, Any]
    seeds: list[int]
    data: list[DataFigures]
    passed: bool
    seconds: float
    schema_version: int = 1


def summary(cells: Sequence[Cell], clusters: Mapping[str, Sequence[str]], lengths: Mapping[str, Array]) -> Summary:
    """All data sets over their seeds; `clusters` and `lengths` (|Δ log characters|) by pair of each data set.

    Raises `ValueError` without cells.
    """
    if not cells:
        raise ValueError("no cells to sum up")
    names = list(dict.fromkeys(c.data for c in cells))
    data = [data_figures([c for c in cells if c.data == name], clusters[name], lengths[name]) for name in names]
    return Summary(
        settings=cells[0].settings,
        seeds=sorted({c.seed for c in cells}),
        data=data,
        passed=all(all(d.passed.values()) for d in data),
        seconds=sum(c.seconds for c in cells),
    )


def data_figures(cells: Sequence[Cell], clusters: Sequence[str], apart: Array) -> DataFigures:
    """One data set over its seeds."""
    name = cells[0].data
    right = {arm: np.mean([_right(c.margins[arm]) for c in cells], axis=0) for arm in cells[0].margins}
    same = np.flatnonzero(apart < MATCHED)
    within = clusters_of(clusters, same)

    def interval(figure: Callable[[Indices], float], of: Sequence[str] = clusters) -> Interval:
        found = bootstrap(figure, of, resamples=RESAMPLES)
        return Interval(mean=found.mean, low=found.low, high=found.high)

    def mean(values: Array, of: Sequence[str] = clusters) -> Interval:
        return interval(lambda i: float(values[i].mean()), of)

    best = max(BASELINES, key=lambda arm: float(right[arm].mean()))
    rivals = np.stack([right[arm] for arm in BASELINES])
    over_best = mean(right[REWARD] - right[best])
    matched = {arm: mean(values[same], within) for arm, values in right.items()}
    auroc = interval(lambda i: float(np.mean([_auroc(c, i) for c in cells])))
    return DataFigures(
        data=name,
        pairs=len(clusters),
        clusters=len(set(clusters)),
        accuracy={arm: mean(values) for arm, values in right.items()},
        over={arm: mean(right[REWARD] - right[arm]) for arm in BASELINES},
        best_baseline=best,
        over_best=over_best,
        over_best_of_resample=interval(lambda i: float(right[REWARD][i].mean() - rivals[:, i].mean(axis=1).max())),
        matched_pairs=len(same),
        matched=matched,
        auroc=auroc,
        ece=interval(lambda i: float(np.mean([_ece(c, i) for c in cells]))),
        passed={
            "beats the best baseline": over_best.low > 0,
            "disagreement tells errors": auroc.mean >= AUROC and auroc.low > 0.5,
            **({"better than chance at one length": matched[REWARD].low > 0.5} if name == JUDGED else {}),
        },
    )


def _right(margins: Sequence[float]) -> Array:
    margin = np.asarray(margins)
    return (margin > 0) + 0.5 * (margin == 0)


def _auroc(cell: Cell, pairs: Indices) -> float:
    wrong = 1.0 - _right(cell.margins[REWARD])
    return auc(np.asarray(cell.disagreement)[pairs], wrong[pairs])


def _ece(cell: Cell, pairs: Indices) -> float:
    stated = np.asarray(cell.stated)[pairs]
    return ece(np.maximum(stated, 1 - stated), (stated > 0.5) + 0.5 * (stated == 0.5))


def write_table(found: Summary, file: Path, console: Console) -> None:
    """The tables on the terminal and, plain, in a file."""
    with file.open("w", encoding="utf-8") as out:
        for to in (console, Console(file=out, width=160)):
            for data in found.data:
                to.print(_table(data))
                said = ", ".join(f"{name}: {'met' if met else 'missed'}" for name, met in data.passed.items())
                to.print(
                    f"best baseline {data.best_baseline}, reward less it {percent(data.over_best)} (of each resample: "
                    f"{percent(data.over_best_of_resample)}); AUROC of disagreement for errors {number(data.auroc)}; "
                    f"ECE {number(data.ece)}. {said}",
                    highlight=False,
                )


def _table(data: DataFigures) -> Table:
    title = f"{data.data}: {data.pairs} pairs, {data.clusters} clusters, {data.matched_pairs} pairs of one length"
    table = Table("", "right, %", "reward less this", "of one length, %", title=title, title_justify="left")
    for arm, accuracy in data.accuracy.items():
        over = percent(data.over[arm]) if arm in data.over else ""
        table.add_row(arm, percent(accuracy), over, percent(data.matched[arm]))
    return table


def percent(interval: Interval) -> str:
    """`75.1 [73.9, 76.3]`"""
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def number(interval: Interval) -> str:
    """`0.612 [0.590, 0.634]`"""
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
