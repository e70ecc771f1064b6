"""`thumbwheel erase`: forget somebody everywhere, and show how far that has come."""

import argparse
import time
from typing import TYPE_CHECKING

from thumbwheel.commands.service import add_service_options, ago, console, open_client, print_json
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import now_ms
from thumbwheel.types import Erasure

if TYPE_CHECKING:
    from thumbwheel import Client
    from thumbwheel.commands.service import Subparsers

_LOOK_S = 1.0


def register(subparsers: "Subparsers") -> None:
    """Add `erase`."""
    parser = subparsers.add_parser(
        "erase",
        help="forget a user or an anonymous conversation everywhere; list erasures",
        description=(
            "Deletes what the service has of somebody, destroys the key under which every copy of it is sealed, and "
            "lists the policy versions that were trained on it. Cannot be undone. Without a name, the erasures so far."
        ),
        epilog="examples:\n  thumbwheel erase ann\n  thumbwheel erase --conversation conv-17 --yes\n  thumbwheel erase",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("user", metavar="USER", nargs="?", help="the `user` of chats and feedback")
    parser.add_argument("--conversation", metavar="ID", help="a conversation in which nobody has a name")
    parser.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0.0, help="so long for the learner to follow")
    parser.add_argument("--json", action="store_true", help="JSON instead of words")
    add_service_options(parser, admin=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Erase, or list; 1 when nobody said yes."""
    user: str | None = arguments.user
    conversation: str | None = arguments.conversation
    if user is not None and conversation is not None:
        raise ConfigurationError("name a user or a conversation, not both")
    with open_client(arguments) as client:
        if user is None and conversation is None:
            return _list(client, arguments)
        if not (arguments.yes or _is_meant(arguments)):
            return 1
        erasure = client.erasures.user(user) if user is not None else client.erasures.conversation(conversation or "")
        until = time.monotonic() + arguments.wait
        while erasure.state != "complete" and time.monotonic() < until:
            time.sleep(_LOOK_S)
            erasure = client.erasures.get(erasure.erasure_id)
    if arguments.json:
        print_json(erasure)
    else:
        _print(erasure)
    return 0


def _is_meant(arguments: argparse.Namespace) -> bool:
    whom = f"conversation {arguments.conversation}" if arguments.conversation else f"user {arguments.user}"
    try:
        said = input(f"Erase everything of {whom}? This cannot be undone. [y/N] ")
    except EOFError:
        said = ""
    return said.strip().lower() in ("y", "yes")


def _list(client: "Client", arguments: argparse.Namespace) -> int:
    found = client.erasures.list()
    if arguments.json:
        print_json(found)
        return 0
    out = console()
    if not found.erasures:
        out.print("nobody has been erased")
    for erasure in found.erasures:
        out.print(f"{erasure.erasure_id}  {erasure.state:8}  {ago(erasure.created_ms, now_ms())}", markup=False)
    return 0


def _print(erasure: Erasure) -> None:
    out = console()
    out.print(f"erasure   {erasure.erasure_id}", markup=False)
    out.print(f"gone      {erasure.turns} turns, {erasure.feedback} pieces of feedback; their keys: {_keys(erasure)}")
    if erasure.state != "complete":
        days = (erasure.deadline_ms - now_ms()) / 86_400_000
        out.print(f"learner   has not followed yet; at the latest in {days:.1f} days (`thumbwheel erase` shows it)")
        return
    out.print("learner   has dropped its own")
    for version in erasure.versions:
        share = f"{version.share:.2%} of its data ({version.examples} examples)"
        ancestor = ", and of an ancestor's" if version.inherited else ""
        out.print(f"affected  {version.version}: {share}{ancestor}", markup=False)


def _keys(erasure: Erasure) -> str:
    return "still to be destroyed, the key store is away" if erasure.state == "erasing" else "destroyed"
