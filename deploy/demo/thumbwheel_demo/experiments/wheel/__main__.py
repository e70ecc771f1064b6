"""`python -m thumbwheel_demo.experiments.wheel`: what each part of the wheel is worth, in whole runs of the demo.

Runs that are missing are made; `wheel.json` and `wheel.html` compare them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.cells import seeds
from thumbwheel_demo.experiments.wheel.compare import Comparison, compare
from thumbwheel_demo.experiments.wheel.grid import ARMS, SEEDS, cells, run_all, run_cell
from thumbwheel_demo.report import figures
from thumbwheel_demo.report.page import page, table
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.report.table import percent


def parser() -> argparse.ArgumentParser:
    """Options; whatever comes after `--` goes to every run of the demo."""
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.wheel", description=__doc__)
    made.add_argument(
        "--out", type=Path, default=Path("build/experiments/wheel"), help="folder of the runs and figures"
    )
    made.add_argument("--arms", default=",".join(ARMS), help=f"some of {', '.join(ARMS)} (default all)")
    made.add_argument("--seeds", type=seeds, default=",".join(map(str, SEEDS)), help="default 1,2,3")
    made.add_argument("extra", nargs="*", help="after --: options of `thumbwheel demo` for every run")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, write; 1 when a run failed, 130 on Ctrl-C (what is finished stays and is not run again)."""
    made = parser()
    options = made.parse_args(arguments)
    arms = [arm for arm in str(options.arms).split(",") if arm]
    if unknown := [arm for arm in arms if arm not in ARMS]:
        made.error(f"unknown arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    console = Console()
    todo = cells(options.out, arms, options.seeds, tuple(options.extra))
    try:
        reports, failures = run_all(todo, run_cell, lambda text: console.print(text, highlight=False))
    except KeyboardInterrupt:
        console.print("stopped; finished runs stay and are not run again")
        return 130
    if not reports:
        return 1
    found = compare(reports, failures)
    write_json(options.out / "wheel.json", found)
    (options.out / "wheel.html").write_text(render(found), encoding="utf-8")
    print_comparison(found, console)
    console.print(f"figures: {options.out / 'wheel.json'}, page: {options.out / 'wheel.html'}", highlight=False)
    return 1 if failures else 0


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    return [
        (
            arm.arm,
            percent(arm.gain, signed=True),
            ", ".join(f"{seed.base:.0%} → {seed.last:.0%}" for seed in arm.seeds),
            ", ".join(f"{seed.accepted}/{seed.turns}" for seed in arm.seeds),
            ", ".join(f"{seed.seconds:.0f}" for seed in arm.seeds),
        )
        for arm in found.arms
    ]


HEAD = ("arm", "gain, points [95%]", "base → last, by seed", "shipped", "seconds")


def print_comparison(found: Comparison, console: Console) -> None:
    """Terminal tables."""
    arms = Table(*HEAD, title="What each part of the wheel is worth", title_justify="left")
    for row in _rows(found):
        arms.add_row(*row)
    console.print(arms)
    for contrast in found.contrasts:
        shown = percent(contrast.difference, signed=True)
        console.print(f"{contrast.arm} over {contrast.over}: {shown} points", highlight=False)


def render(found: Comparison) -> str:
    """The page."""
    rows = [(arm.arm, arm.gain.mean, arm.gain.low, arm.gain.high) for arm in found.arms]
    rows += [(f"{c.arm} − {c.over}", c.difference.mean, c.difference.low, c.difference.high) for c in found.contrasts]
    plot = figures.forest(rows, "Gain over the base, and of one arm over another, 95% intervals")
    note = "Intervals redraw prompts within each seed; both sides of a difference answered the same prompts."
    return page(
        "Thumbwheel: what each part of the wheel is worth",
        f"<header><h1>What each part of the wheel is worth</h1><p class=note>{note}</p></header>"
        f"<section>{plot}</section><section>{table(HEAD, _rows(found))}</section>",
    )


if __name__ == "__main__":
    sys.exit(main())
