"""`python -m thumbwheel_demo.experiments.overoptimisation`: what becomes of the hidden satisfaction while PPO raises a
reward that was learned from few people, a quarter of whose votes are mistaken. One member of the reward model or all of
them, with the KL term and without. The learner's own reward training and PPO; an hour or more on one core.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from thumbwheel_demo.experiments.cells import finished, seeds
from thumbwheel_demo.experiments.overoptimisation.desk import Plan, open_desk
from thumbwheel_demo.experiments.overoptimisation.plot import write_plot
from thumbwheel_demo.experiments.overoptimisation.report import Summary, summary
from thumbwheel_demo.experiments.overoptimisation.runs import ARMS, Cell, run_arm
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.report.record import write_json
from thumbwheel_demo.report.table import percent
from thumbwheel_learner.model.loading import load_policy
from thumbwheel_learner.model.policy import PolicyModel

PLAN = "plan.json"


def parser() -> argparse.ArgumentParser:
    """Options; those of the plan are explained in `desk.Plan`."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.overoptimisation",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--out", type=Path, default=Path("build/experiments/overoptimisation"), help="folder of it all")
    made.add_argument("--seeds", type=seeds, default="6-10", help="each has people and a reward model of its own")
    made.add_argument("--arms", default=";".join(ARMS), help="separated by semicolons; the figures need all of them")
    for field in msgspec.structs.fields(Plan):
        name, default = "--" + field.name.replace("_", "-"), field.default
        if isinstance(default, bool):
            made.add_argument(name, action=argparse.BooleanOptionalAction, default=default, help="of the plan")
        else:
            kind = int if isinstance(default, int) else float
            made.add_argument(name, type=kind, default=default, help="of the plan")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write JSON and plot; 1 when a bar is missed or an arm is, 130 on Ctrl-C (cells stay)."""
    made = parser()
    given = made.parse_args(arguments)
    plan = Plan(**{field.name: getattr(given, field.name) for field in msgspec.structs.fields(Plan)})
    arms = [a for a in str(given.arms).split(";") if a]
    if unknown := [a for a in arms if a not in ARMS]:
        made.error(f"unknown arm {unknown[0]!r}; there are {'; '.join(ARMS)}")
    console = Console(width=120)

    def say(text: str) -> None:
        console.print(text, highlight=False)

    try:
        model = load_policy(weights_dir())
        cells = [c for seed in given.seeds for c in run_seed(model, plan, seed, arms, given.out / f"seed-{seed}", say)]
    except KeyboardInterrupt:
        say("stopped; a later call goes on from here")
        return 130
    try:
        found = summary(cells)
    except ValueError as error:
        say(f"no figures yet: {error}")
        return 1
    write_json(given.out / "overoptimisation.json", found)
    write_plot(cells, found, given.out / "overoptimisation.svg")
    print_summary(found, console)
    say(f"figures: {given.out / 'overoptimisation.json'}")
    return 0 if found.passed else 1


def run_seed(
    model: PolicyModel, plan: Plan, seed: int, arms: Sequence[str], folder: Path, say: Callable[[str], None]
) -> list[Cell]:
    """Some arms of a seed; what an earlier call made with another plan is thrown away."""
    if finished(folder / PLAN, Plan) != plan:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / PLAN, plan)
    desk = open_desk(model, plan, seed, folder / "reward")
    say(f"seed {seed}: a reward of AUC {desk.auc or float('nan'):.2f} on votes it was not taught")
    return [run_arm(model, desk, plan, seed, arm, folder / arm.replace(", ", "-"), say) for arm in arms]


def print_summary(found: Summary, console: Console) -> None:
    """Arms, then bars."""
    table = Table(title=f"Gold, {len(found.seeds)} seeds; {percent(found.start)} at the start", title_justify="left")
    for name in ("arm", "best [95%]", "at √KL", "at the end [95%]", "√KL there, by seed", "proxy, farthest"):
        table.add_column(name)
    for name, arm in found.arms.items():
        ends = ", ".join(f"{x:.1f}" for x in arm.final_distance)
        best, last = percent(arm.peak_gold), percent(arm.final_gold)
        table.add_row(name, best, f"{arm.peak:.2f}", last, ends, f"{arm.proxy[-1]:+.2f}")
    console.print(table)
    console.print(f"single model's peak {found.peak_gold:.1%} ± {found.peak_error:.1%} at √KL {found.peak:.2f}")
    if found.gain_there is not None:
        console.print(f"ensemble less single at twice that: {percent(found.gain_there, signed=True)} points")
    for name, kept in found.kept.items():
        console.print(f"{name}, at the end less the single model's peak: {percent(kept, signed=True)} points")
    for bar, met in found.bars.items():
        console.print(f"{'met' if met else 'missed'}: {bar}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
