"""`python -m thumbwheel_demo.experiments.policy_training`: what PPO is worth beside what is cheaper.

Simulated people chat with the demo policy, vote and correct. From their labels the learner trains SFT and one reward
model; every arm starts from those two. Bar: PPO's hidden satisfaction on held-out prompts lies above that of SFT and
above the best of four of SFT's answers under the same reward model. DPO is reported beside it.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.console import Console

from thumbwheel_demo.experiments.cells import RESULT, finished, seeds
from thumbwheel_demo.experiments.policy_training.arms import ARMS, BASE, BEST, DPO, PPO, SFT, Cell, run_arm
from thumbwheel_demo.experiments.policy_training.desk import MEASURED, Desk, DeskOptions, Measured, open_desk
from thumbwheel_demo.experiments.policy_training.report import draw, summary, write_table
from thumbwheel_demo.people import PeopleSettings
from thumbwheel_demo.report.record import write_json

DEFAULT = ",".join((BASE, SFT, BEST, PPO, DPO, "dpo-corrections"))


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.policy_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--out", type=Path, default=Path("build/experiments/policy_training"), help="folder of policies, cells, figures"
    )
    made.add_argument("--seeds", type=seeds, default="1-5", help="people, their labels and training; default 1-5")
    made.add_argument("--arms", default=DEFAULT, help=f"some of {', '.join(ARMS)}; default {DEFAULT}")
    made.add_argument("--chats", type=int, default=DeskOptions.chats, help="chats that people have with the policy")
    made.add_argument("--prompts", type=int, default=DeskOptions.heldout, help="on which every arm is measured")
    made.add_argument(
        "--split",
        choices=tuple(MEASURED),
        default="heldout",
        help="prompts in words never asked, or as people chat",
    )
    made.add_argument("--answers", type=int, default=DeskOptions.answers, help="measured per held-out prompt and arm")
    made.add_argument("--best-of", type=int, default=DeskOptions.best_of, help="answers that the reward chooses from")
    made.add_argument(
        "--temperature", type=float, default=DeskOptions.temperature, help="of every answer, to people and measured"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `policy_training.json`, `.txt` and `.svg`; 1 when a bar is missed or not tried."""
    made = parser()
    given = made.parse_args(arguments)
    arms = [arm for arm in str(given.arms).split(",") if arm]
    if unknown := [arm for arm in arms if arm not in ARMS]:
        made.error(f"unknown arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    for name, least in (("chats", 50), ("prompts", 2), ("answers", 1), ("best_of", 2)):
        if getattr(given, name) < least:
            made.error(f"--{name.replace('_', '-')} must be at least {least}")
    if not 0 < given.temperature <= 2:
        made.error("--temperature must be above 0 and at most 2")
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    options = DeskOptions(given.chats, given.prompts, given.answers, given.best_of, given.temperature)
    on = cast(Measured, given.split)
    try:
        cells = [cell for seed in given.seeds for cell in run_seed(seed, arms, options, on, given.out, say)]
    except KeyboardInterrupt:
        say("stopped; finished arms stay and are not run again")
        return 130
    found = summary(cells)
    name = "policy_training" if on == "heldout" else f"policy_training-{on}"
    write_json(given.out / f"{name}.json", found)
    write_table(found, given.out / f"{name}.txt", console)
    (given.out / f"{name}.svg").write_text(draw(found), encoding="utf-8")
    return 0 if found.passed else 1


def run_seed(
    seed: int, arms: Sequence[str], options: DeskOptions, on: Measured, out: Path, say: Callable[[str], None]
) -> list[Cell]:
    """Every arm of one seed; the desk is opened only where an earlier call has not finished them all."""
    folder, desk, cells = out / f"seed-{seed}", None, list[Cell]()
    settings = settings_of(options)
    for arm in arms:
        result = folder / arm / (RESULT if on == "heldout" else f"cell-{on}.json")
        kept = finished(result, Cell)
        if kept is not None and kept.settings == settings:
            say(f"seed {seed}, {arm}: already there")
            cells.append(kept)
            continue
        result.parent.mkdir(parents=True, exist_ok=True)
        desk = desk or _opened(seed, options, folder, say)
        cell = run_arm(desk, arm, seed, options, on, settings, folder)
        write_json(result, cell)
        say(in_short(cell))
        cells.append(cell)
    return cells


def settings_of(options: DeskOptions) -> dict[str, Any]:
    """What decides a cell beside its arm and seed."""
    people = asdict(PeopleSettings())
    return msgspec.to_builtins(asdict(options)) | {"people": people, "max_tokens": people["max_tokens"]}


def _opened(seed: int, options: DeskOptions, folder: Path, say: Callable[[str], None]) -> Desk:
    desk = open_desk(seed, options, folder)
    made = desk.prepared
    auc = made.reward["auc"]["mean"]
    say(
        f"seed {seed}: {made.thumbs} thumbs ({made.up} up), {made.corrections} corrections; reward AUC "
        f"{'not known' if auc is None else f'{auc:.2f}'}; {made.seconds:.0f} s"
    )
    return desk


def in_short(cell: Cell) -> str:
    """One line of progress."""
    mean = sum(cell.satisfied.values()) / len(cell.satisfied)
    kl = "" if cell.kl is None else f", KL {cell.kl:.2f}"
    took = f"{cell.train_s:.0f} + {cell.measure_s:.0f} s"
    return f"seed {cell.seed}, {cell.arm}: {mean:.1%} satisfied, reward {cell.reward:+.2f}{kl}; {took}"


if __name__ == "__main__":
    sys.exit(main())
