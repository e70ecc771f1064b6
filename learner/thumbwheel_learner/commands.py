"""The learner's part of the `thumbwheel` command. Nothing heavy is imported to list it."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thumbwheel.commands.service import add_service_options, console, open_client, print_json
from thumbwheel.errors import ConfigurationError
from thumbwheel_learner.environment import PREFIX
from thumbwheel_learner.errors import LearnerError
from thumbwheel_learner.replay.command import register as register_replay

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers

_OPTIONS = {
    "data": "folder of the state (THUMBWHEEL_DATA; default .thumbwheel)",
    "url": "where the service is (THUMBWHEEL_URL)",
    "api-key": "an admin key (THUMBWHEEL_API_KEY; default what DATA/admin.key holds)",
    "model": "the base model that the service serves (THUMBWHEEL_MODEL; default the demo policy)",
}


def register(subparsers: "Subparsers") -> None:
    """Add the learner's commands; called by the SDK's command line through the entry point `thumbwheel.commands`."""
    learning = subparsers.add_parser(
        "learn",
        help="run the learner; or tell a running one to train now, to pause, to resume",
        description="Without --now, --pause, --resume or --status this is the learner process itself, configured by "
        "THUMBWHEEL_ variables; with one of them, a word to the running learner through the service.",
        epilog="example: thumbwheel learn --now --stages sft,ppo",
    )
    add_service_options(learning, admin=True)
    learning.add_argument("--model", help=_OPTIONS["model"])
    word = learning.add_mutually_exclusive_group()
    word.add_argument("--now", action="store_true", help="start a training run now")
    word.add_argument("--pause", action="store_true", help="start no more runs until --resume")
    word.add_argument("--resume", action="store_true", help="go on after --pause")
    word.add_argument("--status", action="store_true", help="what the learner last said of itself")
    learning.add_argument("--stages", default="all", help="with --now: some of reward,sft,ppo, or all")
    learning.add_argument("--json", action="store_true", help="with --status: one JSON document")
    learning.set_defaults(run=learn)

    evaluating = subparsers.add_parser(
        "evaluate",
        help="score a file of preferences with the reward model, beside simple baselines",
        description="Reads JSONL (plain or gzip) with chosen and rejected, and trains on none of it but the fitted "
        "baseline, which is cross-validated.",
        epilog="example: thumbwheel evaluate human_pairs.jsonl.gz --json",
    )
    evaluating.add_argument("file", metavar="FILE", type=Path, help="preference pairs")
    evaluating.add_argument("--version", metavar="V", help="use the reward model behind this policy version")
    evaluating.add_argument("--data", help=_OPTIONS["data"])
    evaluating.add_argument("--model", help=_OPTIONS["model"])
    evaluating.add_argument("--json", action="store_true", help="one JSON document")
    evaluating.set_defaults(run=evaluate)
    register_replay(subparsers)


def learn(arguments: argparse.Namespace) -> int:
    """Be the learner, or have a word with it."""
    if arguments.status:
        return _print_status(arguments)
    for word in ("now", "pause", "resume"):
        if getattr(arguments, word):
            from thumbwheel.commands.learn import learn_command

            with open_client(arguments) as client:
                print(learn_command(client, word, arguments.stages))
            return 0
    return learn_from_environment(_as_environment(arguments, ("data", "url", "api_key", "model")))


def learn_from_environment(extra: Mapping[str, str]) -> int:
    """Run the learner by the environment's settings with `extra` on top; 2 and a message when it cannot start."""
    from thumbwheel_learner.main import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for chatty in ("httpx", "alembic", "kafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return run(_settings(extra))
    except (ConfigurationError, LearnerError) as error:
        print(f"thumbwheel learn: {error}", file=sys.stderr)
        return 2


def evaluate(arguments: argparse.Namespace) -> int:
    """Print accuracy, AUC and calibration with their intervals; 1 when the file holds no usable pair."""
    from thumbwheel_learner.reward.score import score_file

    out = console(stderr=True)
    settings = _settings(_as_environment(arguments, ("data", "model")))
    with out.status(f"scoring {arguments.file}"):
        try:
            report = score_file(settings, arguments.file, version=arguments.version)
        except LearnerError as error:
            raise ConfigurationError(str(error)) from error
    for line in report["malformed"][:20]:
        out.print(f"line {line['line']}: {line['reason']}", markup=False)
    if len(report["malformed"]) > 20:
        out.print(f"… and {len(report['malformed']) - 20} more malformed lines")
    if arguments.json:
        print_json(report)
    else:
        _print_table(report)
    return 0 if report["pairs"] else 1


def _settings(extra: Mapping[str, str]) -> Any:
    from thumbwheel.demo_policy import default_model
    from thumbwheel_learner.settings import from_environment

    return from_environment({**os.environ, **extra}, default_model=default_model())


def _as_environment(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, str]:
    return {PREFIX + name.upper(): str(v) for name in names if (v := getattr(arguments, name, None)) is not None}


def _print_status(arguments: argparse.Namespace) -> int:
    from thumbwheel.commands.status import lines

    with open_client(arguments) as client:
        status = client.status()
    if arguments.json:
        print_json(status.learner)
        return 0
    out = console()
    for name, value in lines(status):
        if name in ("learner", "labels", "reward model"):
            out.print(f"{name:14} {value}", markup=False)
    run = status.learner.last_run if status.learner else {}
    if run:
        out.print(f"{'last run':14} {run['outcome']} {run['reason']}", markup=False)
    return 0


def _print_table(report: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    table = Table("", "accuracy", "AUC", "ECE", title=f"{report['pairs']} pairs, {len(report['malformed'])} malformed")
    for name, figures in report["models"].items():
        table.add_row(name.replace("_", " "), *(_interval(figures[kind]) for kind in ("accuracy", "auc", "ece")))
    out.print(table)
    out.print(f"reward model {report['reward_model']}; 95% intervals over prompts", markup=False)


def _interval(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["mean"] is None:
        return "–"
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
