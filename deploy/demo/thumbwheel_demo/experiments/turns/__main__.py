"""`python -m thumbwheel_demo.experiments.turns`: many turns of the wheel that nobody looks after.

Runs `thumbwheel demo --turns 10` once for each seed, where an earlier call has not, and asks of its report whether
hidden satisfaction or the diversity of answers ever fell significantly from one version to the next.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.cells import seeds
from thumbwheel_demo.experiments.turns.falls import MEASURES, Turns, measured, turns_of
from thumbwheel_demo.experiments.wheel.grid import Cell, run_all, run_cell
from thumbwheel_demo.report.figures import GRID, WHEEL, plot
from thumbwheel_demo.report.record import Report, read_report, write_json
from thumbwheel_demo.report.table import percent

PEOPLE = ("--chats", "800,500", "--background", "0.3", "--rush", "3")
"""Half as many of them as the demo has by itself: a learner that reads ten turns' votes takes ten times as long."""


def parser() -> argparse.ArgumentParser:
    """Options; whatever comes after `--` goes to every run of the demo."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.turns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, default=Path("build/experiments/turns"), help="folder of runs and figures")
    made.add_argument("--seeds", type=seeds, default="1-3", help="of the runs; default 1-3")
    made.add_argument("--turns", type=int, default=10, help="of every run; default 10")
    made.add_argument("--reports", type=Path, nargs="+", help="read these report.json instead of running anything")
    made.add_argument(
        "extra", nargs="*", help=f"after --: options of `thumbwheel demo` for every run, which has {' '.join(PEOPLE)}"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, test, write `turns.json` and `turns.svg`; 1 when something fell, was not measured, or a run failed."""
    given = parser().parse_args(arguments)
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    failures: list[str] = []
    if given.reports:
        reports = read_all(given.reports)
    else:
        extra = ("--turns", str(given.turns), *PEOPLE, *given.extra)
        todo = [Cell("full", seed, given.out / f"seed-{seed}", extra) for seed in given.seeds]
        try:
            found, failures = run_all(todo, run_cell, say)
        except KeyboardInterrupt:
            say("stopped; finished runs stay and are not run again")
            return 130
        reports = {seed: report for (_, seed), report in found.items()}
    if not reports:
        return 1
    turns = turns_of(reports)
    write_json(given.out / "turns.json", turns)
    (given.out / "turns.svg").write_text(draw(reports), encoding="utf-8")
    print_turns(turns, console)
    say(f"figures: {given.out / 'turns.json'}, plot: {given.out / 'turns.svg'}")
    return 0 if turns.passed and not failures else 1


def read_all(files: Sequence[Path]) -> dict[int, Report]:
    """Reports by the seed they were made with, or by their place where that is not told or not new."""
    found: dict[int, Report] = {}
    for place, file in enumerate(files):
        report = read_report(file)
        seed: Any = report.settings.get("seed")
        found[seed if isinstance(seed, int) and seed not in found else -1 - place] = report
    return found


def print_turns(turns: Turns, console: Console) -> None:
    """Every step as a row, and what it comes to."""
    table = Table(title="From one version to the next, points", title_justify="left")
    for title in ("seed", "step", *MEASURES):
        table.add_column(title)
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for step in turns.steps:
        mark = "  FELL" if step.fell else f"  p {step.p:.3f}" if step.p < turns.level else ""
        cells = rows.setdefault((step.seed, f"{step.before} → {step.after}"), {})
        cells[step.measure] = percent(step.change, signed=True) + mark
    for (seed, name), cells in rows.items():
        table.add_row(str(seed), name, *(cells.get(measure, "not measured") for measure in MEASURES))
    console.print(table)
    for n, seed in enumerate(turns.seeds):
        ends = ", ".join(f"{m} {turns.first[m][n]:.1%} → {turns.last[m][n]:.1%}" for m in turns.first)
        console.print(f"seed {seed}: {turns.shipped[n]} versions in {turns.turns[n]} turns; {ends}", highlight=False)
    console.print(
        f"{turns.tests} tests, {turns.below_level_alone} falls with p < {turns.level} by themselves "
        f"({turns.tests * turns.level:.1f} expected by chance), {turns.fell} after Holm's correction",
        highlight=False,
    )
    if turns.unmeasured:
        console.print(f"not measured in every report: {', '.join(turns.unmeasured)}", highlight=False)


def draw(reports: Mapping[int, Report]) -> str:
    """SVG: every measure by version, a line for each seed."""
    with plot("turns", 9.2, 3.2, panels=len(MEASURES)) as drawing:
        for axes, measure in zip(drawing.panels, MEASURES, strict=True):
            for n, (seed, report) in enumerate(reports.items()):
                table = measured(report)[measure]
                known = [table[v.version] for v in report.versions if v.version in table]
                means = [sum(by_prompt.values()) / len(by_prompt) for by_prompt in known]
                axes.plot(means, "o-", color=WHEEL[1 + n % 5], ms=4, label=f"seed {seed}")
            axes.set(title=measure.capitalize(), xlabel="version", ylim=(0, 1))
            axes.grid(axis="y", color=GRID, lw=1)
        drawing.panels[0].legend()
        return drawing.svg()


if __name__ == "__main__":
    sys.exit(main())
