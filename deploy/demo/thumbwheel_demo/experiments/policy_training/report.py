"""The figures of every arm over all seeds, and what one arm has over another, against the bar."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.policy_training.arms import ARMS, BASE, BEST, DPO, PPO, SFT, Cell
from thumbwheel_demo.report.figures import GRID, INK, WHEEL, plot
from thumbwheel_demo.report.intervals import crossed_interval
from thumbwheel_demo.report.record import Interval
from thumbwheel_demo.report.table import percent

BAR = ((PPO, SFT), (PPO, BEST))
CONTRASTS = (*BAR, (SFT, BASE), (BEST, SFT), (DPO, SFT), (PPO, DPO), (DPO, BEST), ("dpo-corrections", SFT))
"""Each arm against the one after it."""


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm over all seeds."""

    how: str
    satisfied: Interval
    by_seed: list[float]
    distinct_answers: Interval
    distinct_bigrams: Interval
    distinct_good_bigrams: float
    """Of satisfying answers: mean over seeds and their prompts."""
    reward: float
    """Mean over seeds of the pessimistic score; so are the next ones."""
    kl: float | None
    words: float
    missing_end: float
    train_s: float


class Contrast(Struct, frozen=True, kw_only=True):
    """What one arm has over another on the same prompts and seeds."""

    arm: str
    over: str
    satisfied: Interval
    by_seed: list[float]
    distinct_answers: Interval
    distinct_bigrams: Interval
    good_bigrams_by_seed: list[float]
    """Of satisfying answers, on the prompts to which both arms have two; nan where there are none."""


class Summary(Struct, frozen=True, kw_only=True):
    """Everything the experiment found."""

    settings: dict[str, Any]
    seeds: list[int]
    arms: dict[str, ArmFigures]
    contrasts: list[Contrast]
    passed: bool
    """Both bars, with the interval above zero."""
    schema_version: int = 1


def summary(cells: Sequence[Cell]) -> Summary:
    """All arms, and every contrast whose two arms are there; raises `ValueError` without cells."""
    if not cells:
        raise ValueError("no cells to sum up")
    arms = {name: [c for c in cells if c.arm == name] for name in dict.fromkeys(c.arm for c in cells)}
    others = tuple((name, first) for name in arms for first in (PPO, DPO) if name.startswith(f"{first}-"))
    contrasts = [_contrast(arms, *two) for two in CONTRASTS + others if all(name in arms for name in two)]
    held = {(c.arm, c.over): c.satisfied.low > 0 for c in contrasts}
    return Summary(
        settings=cells[0].settings,
        seeds=list(dict.fromkeys(c.seed for c in cells)),
        arms={name: _arm(name, own) for name, own in arms.items()},
        contrasts=contrasts,
        passed=all(held.get(two, False) for two in BAR),
    )


def _table(cells: Sequence[Cell], figure: Callable[[Cell], Mapping[str, float]]) -> NDArray[np.float64]:
    """[seeds, prompts]"""
    names = sorted(cells[0].satisfied)
    return np.array([[figure(c)[name] for name in names] for c in cells])


def _satisfied(cell: Cell) -> Mapping[str, float]:
    return cell.satisfied


def _answers(cell: Cell) -> Mapping[str, float]:
    return cell.distinct_answers


def _bigrams(cell: Cell) -> Mapping[str, float]:
    return cell.distinct_bigrams


def _arm(name: str, cells: Sequence[Cell]) -> ArmFigures:
    kls = [c.kl for c in cells if c.kl is not None]
    return ArmFigures(
        how=ARMS[name].how,
        satisfied=crossed_interval(_table(cells, _satisfied)),
        by_seed=_table(cells, _satisfied).mean(axis=1).tolist(),
        distinct_answers=crossed_interval(_table(cells, _answers)),
        distinct_bigrams=crossed_interval(_table(cells, _bigrams)),
        distinct_good_bigrams=float(np.mean([_mean(c.distinct_good_bigrams.values()) for c in cells])),
        reward=float(np.mean([c.reward for c in cells])),
        kl=float(np.mean(kls)) if kls else None,
        words=float(np.mean([c.words for c in cells])),
        missing_end=float(np.mean([c.missing_end for c in cells])),
        train_s=float(np.mean([c.train_s for c in cells])),
    )


def _contrast(arms: Mapping[str, Sequence[Cell]], arm: str, over: str) -> Contrast:
    def difference(figure: Callable[[Cell], Mapping[str, float]]) -> NDArray[np.float64]:
        return _table(arms[arm], figure) - _table(arms[over], figure)

    return Contrast(
        arm=arm,
        over=over,
        satisfied=crossed_interval(difference(_satisfied)),
        by_seed=difference(_satisfied).mean(axis=1).tolist(),
        distinct_answers=crossed_interval(difference(_answers)),
        distinct_bigrams=crossed_interval(difference(_bigrams)),
        good_bigrams_by_seed=[_gain_on_good(*two) for two in zip(arms[arm], arms[over], strict=True)],
    )


def _gain_on_good(arm: Cell, over: Cell) -> float:
    mine, others = arm.distinct_good_bigrams, over.distinct_good_bigrams
    return _mean(mine[prompt] - others[prompt] for prompt in mine.keys() & others.keys())


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else float("nan")


def write_table(found: Summary, file: Path, console: Console) -> None:
    """The tables on the terminal and, plain, in a file."""
    title = f"Hidden satisfaction, {len(found.seeds)} seeds, temperature {found.settings['temperature']:g}"
    arms = Table(title=title, title_justify="left")
    diverse = ("distinct answers", "distinct-2", "distinct-2, good")
    for title in ("arm", "satisfied", "by seed", *diverse, "KL to SFT", "reward", "words"):
        arms.add_column(title)
    for name, a in found.arms.items():
        kl = "" if a.kl is None else f"{a.kl:.2f}"
        by_seed = " ".join(f"{share * 100:.0f}" for share in a.by_seed)
        diversity = (percent(a.distinct_answers), percent(a.distinct_bigrams), f"{a.distinct_good_bigrams:.1%}")
        arms.add_row(name, percent(a.satisfied), by_seed, *diversity, kl, f"{a.reward:+.2f}", f"{a.words:.1f}")
    contrasts = Table(title="Differences, points", title_justify="left")
    for title in ("arm", "over", "satisfied", "by seed", *diverse):
        contrasts.add_column(title)
    for c in found.contrasts:
        by_seed, good = (
            " ".join(f"{share * 100:+.1f}" for share in shares) for shares in (c.by_seed, c.good_bigrams_by_seed)
        )
        intervals = [percent(i, signed=True) for i in (c.satisfied, c.distinct_answers, c.distinct_bigrams)]
        contrasts.add_row(c.arm, c.over, intervals[0], by_seed, *intervals[1:], good)
    said = f"PPO above SFT and above best of {found.settings['best_of']}: {'met' if found.passed else 'missed'}"
    with file.open("w", encoding="utf-8") as out:
        for to in (console, Console(file=out, width=150)):
            to.print(arms)
            to.print(contrasts)
            to.print(said, highlight=False)


def draw(found: Summary) -> str:
    """SVG: satisfaction by arm with every seed as a dot, and what it cost in diversity."""
    names = list(found.arms)
    with plot("policy-training", 9.2, 3.6, panels=2) as drawing:
        left, right = drawing.panels
        for i, (name, arm) in enumerate(found.arms.items()):
            shade = WHEEL[2] if name == PPO else WHEEL[1]
            for axes, figure in ((left, arm.satisfied), (right, arm.distinct_answers)):
                errors = [[figure.mean - figure.low], [figure.high - figure.mean]]
                axes.errorbar(i, figure.mean, yerr=errors, fmt="o", color=shade, capsize=5, ms=7, lw=2)
            left.plot([i + 0.2] * len(arm.by_seed), arm.by_seed, ".", color=INK, ms=4)
        left.set(title="Satisfied customers")
        right.set(title="Different answers to one prompt")
        for axes in (left, right):
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            axes.set_ylim(0, 1)
            axes.grid(axis="y", color=GRID, lw=1)
        return drawing.svg()
