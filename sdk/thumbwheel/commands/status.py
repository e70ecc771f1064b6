"""`thumbwheel status`: one look at service and learner."""

import argparse
from typing import TYPE_CHECKING

from thumbwheel.commands.service import add_service_options, ago, console, open_client, print_json
from thumbwheel.events import now_ms
from thumbwheel.types import LearnerStatus, LogStatus, ServiceStatus

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add `status`."""
    parser = subparsers.add_parser(
        "status",
        help="what the service serves and what the learner does",
        description="One look at a running service and its learner.",
        epilog="example: thumbwheel status --url http://chat.example:8000 --json",
    )
    add_service_options(parser, admin=True)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    with open_client(arguments) as client:
        status = client.status()
    if arguments.json:
        print_json(status)
    else:
        out = console()
        for name, value in lines(status):
            out.print(f"{name:14} {value}", markup=False)
    return 0


def lines(status: ServiceStatus) -> list[tuple[str, str]]:
    """Name and value of each line."""
    found = [
        ("service", f"{status.version}, up {_duration(status.uptime_s)}, bus {status.bus}"),
        ("model", f"{status.model} (as {status.alias!r})"),
        ("live policy", f"{status.live_policy} (route epoch {status.epoch})"),
        ("chats", f"{status.turns} turns recorded, {status.chats_in_flight} under way"),
        ("feedback", str(status.feedback)),
    ]
    if status.dead_letters:
        found.append(("dead letters", f"{status.dead_letters} open; `thumbwheel dead-letters` lists them"))
    if status.log is not None:
        found.append(("log", _log_line(status.log)))
    if status.learner is None:
        return [*found, ("learner", "has not reported yet")]
    return found + _learner_lines(status.learner)


def _log_line(kept: LogStatus) -> str:
    since = f", the oldest from {ago(kept.oldest_ms, now_ms())}" if kept.oldest_ms is not None else ""
    until = f"{kept.keep_days:g} d once stored by the learner" if kept.keep_days else "for ever"
    behind = "the learner has never said what it stored" if kept.behind is None else f"learner {kept.behind} behind"
    return f"{kept.records} records{since}, kept {until}; {behind}"


def _learner_lines(learner: LearnerStatus) -> list[tuple[str, str]]:
    state = learner.state
    if learner.stage:
        share = "" if learner.progress is None else f" {learner.progress:.0%}"
        state += f", {learner.stage}{share}"
    if learner.detail:
        state += f": {learner.detail}"
    found = [
        ("learner", f"{state} ({ago(learner.updated_ms, now_ms())})"),
        ("labels", f"{learner.labels_total}, of which {learner.labels_new} new since the last run"),
    ]
    figures = {k: v for k, v in learner.reward_model.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if figures:
        found.append(("reward model", ", ".join(f"{name} {value:.4g}" for name, value in figures.items())))
    return found


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
