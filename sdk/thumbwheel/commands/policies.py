"""`thumbwheel policies`: every version with where it came from and how it did; promote, roll back."""

import argparse
from typing import TYPE_CHECKING, Any, cast

from thumbwheel.commands.service import add_service_options, ago, console, open_client, print_json
from thumbwheel.events import now_ms
from thumbwheel.types import PolicyList, PolicyVersion

if TYPE_CHECKING:
    from rich.table import Table

    from thumbwheel.commands.service import Subparsers


def register(subparsers: "Subparsers") -> None:
    """Add `policies` and what is below it."""
    parser = subparsers.add_parser(
        "policies",
        help="list policy versions with lineage and metrics; show, promote, roll back",
        description="Without an action, the table of all versions, newest first; * marks the live one.",
        epilog="examples:\n  thumbwheel policies\n  thumbwheel policies rollback\n  thumbwheel policies promote p-0007",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_service_options(parser, admin=True)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.set_defaults(run=run_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions")
    for name, run, words in (
        ("list", run_list, "the table of all versions"),
        ("show", run_show, "everything known of one version"),
        ("promote", run_promote, "make a loaded version the live one"),
        ("rollback", run_rollback, "go back to VERSION, or to the one that was live before"),
    ):
        action = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        if name != "list":
            action.add_argument("version", metavar="VERSION", nargs="?" if name == "rollback" else None)
        add_service_options(action, admin=True, default=argparse.SUPPRESS)
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON instead of a table")
        action.set_defaults(run=run)


def run_list(arguments: argparse.Namespace) -> int:
    """Print the table."""
    with open_client(arguments) as client:
        policies = client.policies.list()
    _print(policies, arguments)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one version as JSON."""
    with open_client(arguments) as client:
        print_json(client.policies.get(arguments.version))
    return 0


def run_promote(arguments: argparse.Namespace) -> int:
    """Move the route and print the table."""
    with open_client(arguments) as client:
        _print(client.policies.promote(arguments.version), arguments)
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    """Move the route back and print the table."""
    with open_client(arguments) as client:
        _print(client.policies.rollback(arguments.version), arguments)
    return 0


def _print(policies: PolicyList, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(policies)
        return
    out = console()
    out.print(table(policies))
    for policy in policies.policies:
        if policy.reason and policy.state == "rejected":
            out.print(f"{policy.version} was rejected: {policy.reason}", markup=False)


def table(policies: PolicyList) -> "Table":
    """Versions as rows; a figure that a version lacks is a dash."""
    from rich.table import Table

    found = Table(title=f"live: {policies.live} (route epoch {policies.epoch})", title_justify="left")
    for heading in ("version", "state", "parent", "created", "gate"):
        found.add_column(heading, no_wrap=heading in ("version", "parent"))
    for heading in ("win rate", "KL parent", "KL base", "swap"):
        found.add_column(heading, justify="right")
    now = now_ms()
    for policy in policies.policies:
        live = policy.version == policies.live
        cells = _cells(policy, now)
        found.add_row(("* " if live else "  ") + policy.version, *cells, style="bold" if live else None)
    return found


def _cells(policy: PolicyVersion, now: int) -> list[str]:
    verdict = policy.verdict
    accepted = verdict.get("accepted")
    return [
        policy.state,
        policy.parent or "-",
        ago(policy.created_ms, now) if policy.created_ms else "-",
        "-" if accepted is None else "passed" if accepted else "failed",
        _interval(verdict.get("win_rate")),
        _figure(verdict.get("kl")),
        _figure(verdict.get("kl_base")),
        "-" if policy.swap_seconds is None else f"{policy.swap_seconds:.2f} s",
    ]


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _interval(value: Any) -> str:
    """A share, with its interval when it has one: `0.61 [0.55, 0.67]`."""
    if not isinstance(value, dict):
        return _figure(value)
    found = cast("dict[str, Any]", value)
    middle, low, high = (found.get(name) for name in ("mean", "low", "high"))
    if not isinstance(middle, int | float):
        return "-"
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return f"{middle:.2f}"
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"
