"""`python -m thumbwheel_demo.experiments.refinement`: what a refinement step makes of critiques, and what SFT of it.

Written: a file per seed, which a later call does not make again, and `refinement.json`. Exit status 1 when the step's
answers are not shown to satisfy more often than those of a policy that learned from the same corrections.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.cells import RESULT, finished, seeds
from thumbwheel_demo.experiments.refinement.desk import Cell, Plan, run_seed
from thumbwheel_demo.policy.weights import weights_dir
from thumbwheel_demo.report.intervals import crossed_interval, nested_interval
from thumbwheel_demo.report.record import Interval, write_json
from thumbwheel_demo.report.table import percent

SEEDS = "1-5"
REFINED, CORRECTED, BOTH = "refined", "SFT on corrections", "and refined"


class Findings(Struct, frozen=True, kw_only=True):
    """All of it, as `refinement.json` holds it."""

    plan: Plan
    seeds: list[int]
    rewritten: dict[str, Interval]
    """Share of answers that satisfy, in conversations whose first answer did not and was criticised."""
    over_corrections: Interval
    """`refined` less SFT on the same corrections, there."""
    kept: Interval
    """Share of the answers that SFT learned from which satisfy."""
    heldout: dict[str, Interval]
    added: Interval
    """What refined answers add to SFT on corrections, on held-out prompts."""


def parser() -> argparse.ArgumentParser:
    """Options."""
    plan = Plan()
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.refinement", description=__doc__)
    made.add_argument("--out", type=Path, default=Path("build/experiments/refinement"), help="folder of the figures")
    made.add_argument("--seeds", type=seeds, default=SEEDS, help=f"default {SEEDS}")
    made.add_argument("--chats", type=int, default=plan.chats, help=f"by every seed, default {plan.chats}")
    made.add_argument("--heldout", type=int, default=plan.heldout, help=f"prompts, default {plan.heldout}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write, print; 130 on Ctrl-C (finished seeds stay)."""
    options = parser().parse_args(arguments)
    plan, console = Plan(chats=options.chats, heldout=options.heldout), Console(width=120)
    try:
        cells = [run_cell(seed, plan, options.out, console.print) for seed in options.seeds]
    except KeyboardInterrupt:
        console.print("stopped; finished seeds stay and are not run again")
        return 130
    found = findings(cells, plan)
    write_json(options.out / "refinement.json", found)
    print_findings(found, console)
    return 0 if found.over_corrections.low > 0 else 1


def run_cell(seed: int, plan: Plan, out: Path, say: Callable[[str], None]) -> Cell:
    """One seed, read if an earlier call has finished it with the same plan."""
    file = out / f"seed-{seed}" / RESULT
    found = finished(file, Cell)
    if found is not None and found.plan == plan:
        return found
    from thumbwheel_learner.model.loading import load_policy

    started = time.monotonic()
    file.parent.mkdir(parents=True, exist_ok=True)
    cell = run_seed(load_policy(weights_dir()), seed, plan, file.parent)
    write_json(file, cell)
    say(f"seed {seed}: {time.monotonic() - started:.0f} s")
    return cell


def findings(cells: Sequence[Cell], plan: Plan) -> Findings:
    """Intervals redraw seeds and conversations; held-out prompts are the same for all seeds."""
    arms = {arm: [np.array(c.rewritten[arm], dtype=np.float64) for c in cells] for arm in cells[0].rewritten}
    heldout = {arm: np.array([c.heldout[arm] for c in cells]) for arm in cells[0].heldout}
    kept = [np.repeat([1.0, 0.0], [c.kept_satisfied, c.kept - c.kept_satisfied]) for c in cells if c.kept]
    return Findings(
        plan=plan,
        seeds=[c.seed for c in cells],
        rewritten={arm: nested_interval(values) for arm, values in arms.items()},
        over_corrections=nested_interval([a - b for a, b in zip(arms[REFINED], arms[CORRECTED], strict=True)]),
        kept=nested_interval(kept) if kept else Interval(mean=0.0, low=0.0, high=0.0),
        heldout={arm: crossed_interval(values) for arm, values in heldout.items()},
        added=crossed_interval(heldout[BOTH] - heldout[CORRECTED]),
    )


def print_findings(found: Findings, console: Console) -> None:
    """Two tables and what follows from them."""
    for title, arms in (
        ("satisfied, where the first answer was criticised", found.rewritten),
        ("satisfied, held-out prompts", found.heldout),
    ):
        table = Table("arm", "satisfied [95%]", title=title, title_justify="left")
        for arm, interval in arms.items():
            table.add_row(arm, percent(interval))
        console.print(table)
    console.print(f"refined less {CORRECTED}: {percent(found.over_corrections, signed=True)} points")
    console.print(f"kept for SFT, of which satisfy: {percent(found.kept)}")
    console.print(f"refined answers add to SFT, held out: {percent(found.added, signed=True)} points", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
