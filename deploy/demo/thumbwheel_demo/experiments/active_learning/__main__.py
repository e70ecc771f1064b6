"""`python -m thumbwheel_demo.experiments.active_learning`: how many labels each choice of questions saves.

The demo policy answers once; every seed draws conversations and people of its own, who judge, and a linear reward on
the frozen features is refitted after every batch of labels. An arm is chosen on some seeds and measured on others.
With `--data` real preferences take the place of the desk, read by the pretrained model of `--model`. Written: the
answers and a file per seed, which a later call does not make again, and `active_learning.json`.
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

from thumbwheel_demo.corpus.model import Split
from thumbwheel_demo.experiments.active_learning.banks import Bank, DeskBank, real_bank
from thumbwheel_demo.experiments.active_learning.judged_answers import FrozenPolicy, JudgedAnswers
from thumbwheel_demo.experiments.active_learning.label_curves import DESK, Plan, Simulation
from thumbwheel_demo.experiments.active_learning.label_savings import (
    BAR,
    RISING,
    Curves,
    Savings,
    best_choice,
    best_random,
    savings,
)
from thumbwheel_demo.experiments.cells import finished, seeds
from thumbwheel_demo.experiments.real_rewards.preferences import DATA, FOLDER
from thumbwheel_demo.report.record import Interval, write_json
from thumbwheel_demo.report.table import percent

SEEDS = "1201-1230,1301-1330"
CHOOSING = "121-125"
Say = Callable[[str], None]


class SeedCurves(Struct, frozen=True, kw_only=True):
    """One seed, as its file holds it."""

    seed: int
    plan: Plan
    seconds: float
    curves: dict[str, list[float]]
    """By arm."""


class Findings(Struct, frozen=True, kw_only=True):
    """All of it, as `active_learning.json` holds it."""

    plan: Plan
    chosen: str
    """The arm that was best on the choosing seeds."""
    choosing: Savings
    measured: Savings
    passed: bool
    """At most `BAR` of the labels, for certain fewer than all, while random choice still rises."""
    schema_version: int = 1


def parser() -> argparse.ArgumentParser:
    """Options."""
    plan = Plan()
    made = argparse.ArgumentParser(prog="thumbwheel_demo.experiments.active_learning", description=__doc__)
    made.add_argument(
        "--out", type=Path, default=Path("build/experiments/active_learning"), help="folder of the figures"
    )
    made.add_argument("--data", choices=(DESK, *DATA), default=plan.data, help=f"who judges, default {plan.data}")
    made.add_argument("--model", type=Path, help="checkpoint folder of a pretrained model, for real preferences")
    made.add_argument("--folder", type=Path, default=FOLDER, help=f"of the real preferences, default {FOLDER}")
    made.add_argument(
        "--states",
        action=argparse.BooleanOptionalAction,
        default=plan.states,
        help="read real answers with the whole model: a quarter of an hour on one core, once",
    )
    made.add_argument("--seeds", type=seeds, default=SEEDS, help=f"to measure on, default {SEEDS}")
    made.add_argument("--choosing", type=seeds, default=CHOOSING, help=f"to choose on, default {CHOOSING}")
    made.add_argument("--bank", type=int, default=plan.bank, help="conversations that are answered")
    made.add_argument("--held-out-bank", type=int, default=plan.held_out_bank, help="the same of the held-out split")
    made.add_argument("--conversations", type=int, default=plan.conversations, help="of the bank, by every seed")
    made.add_argument("--held-out", type=int, default=plan.held_out, help="of the held-out ones, by every seed")
    made.add_argument("--labels", type=int, default=plan.labels, help="random choice's, to be matched with fewer")
    made.add_argument("--batch", type=int, default=plan.batch, help="labels between two refits, an even number")
    made.add_argument(
        "--likelihood",
        action=argparse.BooleanOptionalAction,
        default=plan.likelihood,
        help="whether the reward reads how likely the policy finds an answer, too",
    )
    made.add_argument("--width", type=int, default=plan.width, help="principal components of the features")
    made.add_argument("--prior", type=float, default=plan.prior, help="precision of the weights before the first label")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, compare, write, print; 1 when the bar is missed, 130 on Ctrl-C (finished seeds stay)."""
    made = parser()
    options = made.parse_args(arguments)
    plan = Plan(
        data=options.data,
        states=options.states,
        bank=options.bank,
        held_out_bank=options.held_out_bank,
        conversations=options.conversations,
        held_out=options.held_out,
        labels=options.labels,
        batch=options.batch,
        likelihood=options.likelihood,
        width=options.width,
        prior=options.prior,
        noise=Plan().noise if options.data == DESK else 0.0,
    )
    if plan.batch < 2 or plan.batch % 2 or plan.labels < plan.batch or plan.labels % plan.batch:
        made.error("--batch takes an even number, --labels a multiple of it")
    if plan.data != DESK and options.model is None:
        made.error(f"--data {plan.data} needs --model, a folder with a pretrained model")
    every: list[int] = [*options.choosing, *options.seeds]
    if len(set(every)) < len(every):
        made.error("--seeds and --choosing name a seed twice between them")
    console = Console(width=120)

    def say(text: str) -> None:
        console.print(text, highlight=False)

    out: Path = options.out if plan.data == DESK else options.out / plan.data
    try:
        curves = run_all(every, plan, out, lambda: bank(plan, options.model, options.folder, out, say), say)
    except KeyboardInterrupt:
        console.print("stopped; finished seeds stay and are not run again")
        return 130
    found = findings(curves, plan, options.choosing, options.seeds)
    write_json(out / "active_learning.json", found)
    print_findings(found, console)
    say(f"figures: {out / 'active_learning.json'}")
    return 0 if found.passed else 1


def run_all(seeds: Sequence[int], plan: Plan, out: Path, opened: Callable[[], Bank], say: Say) -> dict[int, SeedCurves]:
    """Curves of every seed, read where an earlier call made them with the same plan; for others a bank is `opened`."""
    done = {seed: found for seed in seeds if (found := _finished(out, seed, plan)) is not None}
    missing = [seed for seed in seeds if seed not in done]
    if done:
        say(f"{len(done)} of {len(seeds)} seeds are already there")
    if not missing:
        return done
    drawn_from = opened()
    started = time.monotonic()
    for count, seed in enumerate(missing, start=1):
        done[seed] = run_seed(seed, plan, drawn_from)
        write_json(_file(out, seed), done[seed])
        left = (time.monotonic() - started) / count * (len(missing) - count)
        say(f"seed {seed}: {done[seed].seconds:.0f} s, {len(missing) - count} to go, about {left / 60:.0f} min left")
    return done


def bank(plan: Plan, model: Path | None, folder: Path, out: Path, say: Say) -> Bank:
    """Whose judgements the plan asks for; what is slow to make is kept in `out`."""
    if plan.data == DESK:
        live = answers("live", plan.bank, plan.answers, out, say)
        return DeskBank(live, answers("heldout", plan.held_out_bank, plan.answers, out, say))
    assert model is not None, "the options ask for one"
    return real_bank(DATA[plan.data](folder), model, out / "features" if plan.states else None)


def answers(split: Split, count: int, each: int, out: Path, say: Say) -> JudgedAnswers:
    """The policy's answers to a split's conversations, from the folder or anew."""
    file = out / f"answers-{split}-{count}-{each}.npz"
    if not file.is_file():
        say(f"{count * each} answers to conversations of the split {split}: being sampled and read")
        started = time.monotonic()
        FrozenPolicy().answers(split, count, each, seed=0).save(file)
        say(f"sampled and read in {time.monotonic() - started:.0f} s")
    return JudgedAnswers.load(file)


def run_seed(seed: int, plan: Plan, bank: Bank) -> SeedCurves:
    """Every arm, on conversations and people of its own."""
    started = time.monotonic()
    drawn = bank.draw(plan, np.random.default_rng([seed, 0]))
    simulation = Simulation(drawn.pool, drawn.held_out, plan, seed, drawn.plain)
    curves = {arm.name: simulation.curve(arm) for arm in bank.arms}
    return SeedCurves(seed=seed, plan=plan, seconds=time.monotonic() - started, curves=curves)


def findings(curves: dict[int, SeedCurves], plan: Plan, choosing: Sequence[int], seeds: Sequence[int]) -> Findings:
    """The baseline and the arm are chosen on some seeds, and measured on the others."""
    before, after = _by_arm(curves, choosing), _by_arm(curves, seeds)
    baseline = best_random(before, plan)
    first, then = savings(before, choosing, plan, baseline), savings(after, seeds, plan, baseline)
    chosen = best_choice(first)
    ratio = then.of(chosen).ratio
    passed = ratio.mean <= BAR and ratio.high < 1 and then.rising.mean >= RISING
    return Findings(plan=plan, chosen=chosen, choosing=first, measured=then, passed=passed)


def print_findings(found: Findings, console: Console) -> None:
    """A table, and whether the bar was met."""
    measured = found.measured
    title = (
        f"{len(measured.seeds)} seeds, accuracy at {found.plan.labels} labels, labels by those of {measured.baseline}"
    )
    table = Table(title=title, title_justify="left")
    for head in ("arm", "accuracy [95%]", "gain, points [95%]", "labels needed [95%]"):
        table.add_column(head, no_wrap=True)
    for arm in measured.arms:
        table.add_row(arm.arm, percent(arm.final), percent(arm.gain, signed=True), _needed(arm.ratio, found.plan))
    console.print(table)
    console.print(f"twice the labels add {percent(measured.rising, signed=True)} points to {measured.baseline}")
    needed = _needed(measured.of(found.chosen).ratio, found.plan)
    console.print(
        f"chosen on seeds {found.choosing.seeds}: {found.chosen}, {needed}; "
        f"wanted at most {BAR:.0%} while random still rises by {100 * RISING:.0f} points: "
        f"{'met' if found.passed else 'missed'}",
        highlight=False,
    )


def _needed(ratio: Interval, plan: Plan) -> str:
    most = plan.grid[-1] / plan.labels
    shown = [f"{value:.0%}" if value < most else f"≥ {most:.0%}" for value in (ratio.mean, ratio.low, ratio.high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _by_arm(curves: dict[int, SeedCurves], seeds: Sequence[int]) -> Curves:
    return {arm: [curves[seed].curves[arm] for seed in seeds] for arm in curves[seeds[0]].curves}


def _file(out: Path, seed: int) -> Path:
    return out / f"seed-{seed}.json"


def _finished(out: Path, seed: int, plan: Plan) -> SeedCurves | None:
    found = finished(_file(out, seed), SeedCurves)
    return found if found is not None and found.plan == plan else None


if __name__ == "__main__":
    sys.exit(main())
