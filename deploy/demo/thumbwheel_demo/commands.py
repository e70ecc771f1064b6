"""`thumbwheel demo`: the command's options; what is heavy is imported when it runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add `demo`; called by the SDK's command line through the entry point `thumbwheel.commands`."""
    from thumbwheel_demo.run.options import DemoOptions

    parser = subparsers.add_parser(
        "demo",
        help="turn the whole wheel on simulated people and report what it was worth",
        description="Starts a real service and a real learner on a fresh folder below --out, lets simulated customers "
        "chat and vote and agents correct, turns the wheel, and measures every policy version on held-out prompts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    shares = (
        ("noise", "share of votes that say the opposite of what the customer thinks"),
        ("votes", "share of chats that get a vote"),
        ("corrections", "share of bad answers that an agent rewrites"),
        ("background", "chats per second that go on all the time"),
        ("rush", "chats per second while a verdict and a swap are near"),
    )
    counts = (
        ("seed", "people, prompts and training follow from it"),
        ("turns", "turns of the wheel"),
        ("heldout", "held-out prompts on which every version is measured"),
        ("answers", "answers per held-out prompt"),
    )
    for name, words in shares:
        parser.add_argument(f"--{name}", type=float, default=getattr(DemoOptions, name), help=words)
    for name, words in counts:
        parser.add_argument(f"--{name}", type=int, default=getattr(DemoOptions, name), help=words)
    parser.add_argument(
        "--chats",
        metavar="N[,N...]",
        default=",".join(map(str, DemoOptions.chats)),
        help="chats of each turn before the learner is called; the last number also counts for later turns",
    )
    parser.add_argument("--shuffle-votes", action="store_true", help="deal the votes out at random")
    parser.add_argument("--stages", default="all", help="what the learner does: some of sft,reward,ppo, or all")
    parser.add_argument("--model", help="local path or hub id of another model; default the demo policy")
    parser.add_argument("--out", type=Path, default=DemoOptions.out, help="folder of data, logs and report")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="THUMBWHEEL_NAME=VALUE",
        help="a setting of service or learner, may be repeated",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo: 0 when the wheel turned and the report is written, 1 with a message otherwise, 130 on Ctrl-C."""
    from thumbwheel_demo.run.main import run_command

    return run_command(arguments)
