"""The figures for people: a table and a plot."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.thumbs_reward.figures import CALIBRATION, RATIO, WARNING, ArmFigures, Summary
from thumbwheel_demo.report import figures
from thumbwheel_demo.report.record import Interval

COLUMNS = (
    ("AUC of the oracle's", "held_out", "auc_of_oracle"),
    ("one member's", "held_out", "single_auc_of_oracle"),
    ("ECE", "held_out", "ece"),
    ("true AUC", "held_out", "true_auc"),
    ("disagreement's AUROC", "held_out", "disagreement_of_chances"),
    ("scores' disagreement", "held_out", "disagreement_of_scores"),
    ("threshold's nearness", "held_out", "near_the_threshold"),
    ("length", "held_out", "length_correlation"),
    ("length, equals", "held_out", "length_at_equal_satisfaction"),
    ("true AUC, moved", "moved", "true_auc"),
    ("disagreement, moved", "moved", "disagreement_of_chances"),
)
"""Title, part, figure."""


def write_table(found: Summary, file: Path, console: Console) -> None:
    """The tables on the terminal and, plain, in a file."""
    arms = _table("Reward models on simulated thumbs", found)
    less = _table("Less the same voters' reward model by the defaults", found)
    for title, part, name in COLUMNS:
        arms.add_row(title, *(number(getattr(a, part)[name]) for a in found.arms))
        less.add_row(title, *(number(a.less_default.get(f"{part}.{name}")) for a in found.arms))
    sizes = ", ".join(f"{a.arm}: {len(a.seeds)} seeds, {a.labels:.0f} labels, {a.seconds:.0f} s" for a in found.arms)
    said = f"{sizes}; at least {min(a.thumbs for a in found.arms)} held-out thumbs a seed"
    bars = ", ".join(f"{name} {'met' if met else 'missed'}" for name, met in found.met.items())
    with file.open("w", encoding="utf-8") as out:
        for to in (console, Console(file=out, width=200)):
            to.print(arms)
            to.print(less)
            to.print(f"{said}. Bars: {bars}", highlight=False)


def _table(title: str, found: Summary) -> Table:
    table = Table(title=title, title_justify="left", show_lines=True)
    for name in ("", *(arm.arm for arm in found.arms)):
        table.add_column(name, justify="right" if name else "left")
    return table


def number(interval: Interval | None) -> str:
    """`0.123 [0.120, 0.126]`"""
    return "" if interval is None else f"{interval.mean:.3f}\n[{interval.low:.3f}, {interval.high:.3f}]"


def plot(found: Summary, file: Path) -> None:
    """Four figures of every arm beside each other, with the bars as lines."""
    panels = (
        ("AUC, share of the oracle's", "held_out", "auc_of_oracle", RATIO),
        ("ECE", "held_out", "ece", CALIBRATION),
        ("Disagreement finds errors, AUROC", "held_out", "disagreement_of_chances", WARNING),
        ("Length, at equal satisfaction", "held_out", "length_at_equal_satisfaction", 0.0),
    )
    with figures.plot("thumbs", 13.0, 1.2 + 0.4 * len(found.arms), panels=len(panels)) as drawing:
        for at, (axes, (title, part, name, bar)) in enumerate(zip(drawing.panels, panels, strict=True)):
            axes.axvline(bar, color=figures.MUTED, lw=1, ls="--")
            _forest(axes, found.arms, part, name)
            axes.set_title(title, fontsize=10)
            axes.set_yticks(range(len(found.arms)), [arm.arm for arm in found.arms] if at == 0 else [])
            axes.invert_yaxis()
        file.write_text(drawing.svg(), encoding="utf-8")


def _forest(axes: figures.Axes, arms: Sequence[ArmFigures], part: str, name: str) -> None:
    for row, arm in enumerate(arms):
        interval: Interval = getattr(arm, part)[name]
        error = [[interval.mean - interval.low], [interval.high - interval.mean]]
        axes.errorbar(interval.mean, row, xerr=error, fmt="o", color=figures.colour(1), capsize=4, ms=6, lw=2)
