"""`python -m thumbwheel_demo.experiments.token_credit`: PPO with an answer's score spread over its words, and without.

Each seed has people of its own, who vote on the demo policy's answers, and a reward model that learns from them. PPO
starts from the demo policy under it, the same draws in every arm. Hidden satisfaction is measured on held-out prompts;
arms of a seed are compared prompt by prompt. There is no bar: the option is off by default.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from msgspec import Struct
from rich.console import Console

from thumbwheel_demo.experiments.cells import seeds
from thumbwheel_demo.experiments.token_credit.desk import Cell, DeskOptions, run_cell, satisfied
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.report.intervals import differences, pooled_interval
from thumbwheel_demo.report.record import Interval, write_json
from thumbwheel_demo.report.table import percent
from thumbwheel_learner.model.loading import load_policy


class Arm(Struct, frozen=True, kw_only=True):
    """One share over all seeds."""

    share: float
    satisfied: Interval
    """Share of customers; prompts are redrawn within each seed."""
    over_none: Interval
    """Minus the arm without credit to words, on the same prompts and seeds."""
    over_base: Interval
    by_seed: dict[int, float]
    reward: float
    kl: float


def parser() -> argparse.ArgumentParser:
    """Options; a seed takes some ten minutes on one core."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.token_credit",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--seeds", type=seeds, default="1-5")
    made.add_argument("--shares", type=float, nargs="+", default=[0.5], help="of the score, spread; 0 always runs too")
    made.add_argument("--chats", type=int, default=DeskOptions.chats)
    made.add_argument("--iterations", type=int, default=DeskOptions.iterations)
    made.add_argument("--prompts", type=int, default=DeskOptions.prompts)
    made.add_argument("--out", type=Path, default=Path("build/experiments/token_credit"))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `token_credit.json` and print the arms."""
    given = parser().parse_args(arguments)
    console = Console()
    options = DeskOptions(chats=given.chats, iterations=given.iterations, prompts=given.prompts)
    shares = [0.0, *(s for s in given.shares if s)]
    model = load_policy(weights_dir())
    cells: dict[tuple[float, int], Cell] = {}
    for seed in given.seeds:
        for share in shares:
            cells[share, seed] = run_cell(model, seed, share, options, given.out)
            satisfied_share = fmean(cells[share, seed].satisfied.values())
            console.print(f"seed {seed}, share {share:g}: {satisfied_share:.1%} satisfied", highlight=False)
    base = {seed: satisfied(model, None, seed, options) for seed in given.seeds}
    arms = [_arm(share, cells, base) for share in shares]
    write_json(given.out / "token_credit.json", arms)
    for arm in arms:
        told = f"satisfied {percent(arm.satisfied)}, over none {percent(arm.over_none)}, KL {arm.kl:.2f}"
        console.print(f"share {arm.share:g}: {told}", highlight=False)
    return 0


def _arm(share: float, cells: dict[tuple[float, int], Cell], base: dict[int, dict[str, float]]) -> Arm:
    mine = {seed: cell for (s, seed), cell in cells.items() if s == share}
    return Arm(
        share=share,
        satisfied=pooled_interval([list(c.satisfied.values()) for c in mine.values()]),
        over_none=pooled_interval([differences(c.satisfied, cells[0.0, n].satisfied) for n, c in mine.items()]),
        over_base=pooled_interval([differences(c.satisfied, base[n]) for n, c in mine.items()]),
        by_seed={n: fmean(c.satisfied.values()) for n, c in mine.items()},
        reward=fmean(c.reward for c in mine.values()),
        kl=fmean(c.kl for c in mine.values()),
    )


if __name__ == "__main__":
    sys.exit(main())
