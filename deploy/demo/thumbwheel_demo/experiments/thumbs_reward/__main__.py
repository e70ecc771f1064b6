"""`python -m thumbwheel_demo.experiments.thumbs_reward`: what the reward model makes of simulated people's thumbs.

People chat with the demo policy and vote; the learner's own reward model is trained on some customers' thumbs and
measured on those of others, beside the oracle that knows the hidden satisfaction. Arms: the defaults, each option of
the reward model, and voters whom length impresses. A seed takes some minutes on one core.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from thumbwheel_demo.experiments.cells import seeds
from thumbwheel_demo.experiments.thumbs_reward.answers import Amounts, answers_in
from thumbwheel_demo.experiments.thumbs_reward.arms import ARMS, Cell, Runner
from thumbwheel_demo.experiments.thumbs_reward.figures import summary
from thumbwheel_demo.experiments.thumbs_reward.show import plot, write_table
from thumbwheel_demo.experiments.thumbs_reward.voters import Habits
from thumbwheel_demo.policy import weights_dir
from thumbwheel_demo.report.record import write_json
from thumbwheel_learner.model.loading import load_policy

OUT = Path("build/experiments/thumbs_reward")


def parser() -> argparse.ArgumentParser:
    """Options."""
    made = argparse.ArgumentParser(
        prog="thumbwheel_demo.experiments.thumbs_reward",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--out", type=Path, default=OUT, help="folder of answers, cells and figures")
    made.add_argument("--seeds", type=seeds, default="1-5", help="who votes, on which side, and the training's chance")
    made.add_argument("--arms", default=",".join(ARMS), help="some of them, separated by commas")
    made.add_argument("--chats", type=int, default=Amounts.chats, help="with the demo policy, shared by all seeds")
    made.add_argument("--moved", type=int, default=Amounts.moved, help="prompts to the policy that moved")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write `thumbs.json`, `thumbs.svg` and a table; 1 when a bar is missed."""
    made = parser()
    given = made.parse_args(arguments)
    arms = [arm.strip() for arm in str(given.arms).split(",")]
    if unknown := [arm for arm in arms if arm not in ARMS]:
        made.error(f"unknown arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    if min(given.chats, given.moved) < 20:
        made.error("--chats and --moved must be at least 20")
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    model = load_policy(weights_dir())
    amounts = Amounts(
        chats=given.chats,
        corrected=min(Amounts.corrected, given.chats),
        practice=min(150, given.moved),
        moved=given.moved,
    )
    runner = Runner(model, answers_in(given.out / "answers", amounts, model, say), Habits(), given.out)
    cells: list[Cell] = []
    for seed in given.seeds:
        cells += runner.seed(seed, arms, say)
    found = summary(cells)
    write_json(given.out / "thumbs.json", found)
    plot(found, given.out / "thumbs.svg")
    write_table(found, given.out / "thumbs.txt", console)
    return 0 if all(found.met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
