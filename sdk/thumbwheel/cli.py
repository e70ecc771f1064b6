"""The `thumbwheel` command: the SDK's own commands, and those that other parts bring by entry point.

Exit status: 0 done, 1 it did not work out (the message says why), 2 the command line or the configuration is wrong,
130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NamedTuple

from thumbwheel.errors import ConfigurationError, ThumbwheelError

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers

GROUP = "thumbwheel.commands"
OWN = {
    "chat": "thumbwheel.commands.chat",
    "erase": "thumbwheel.commands.erase",
    "export": "thumbwheel.commands.exports",
    "import": "thumbwheel.commands.imports",
    "policies": "thumbwheel.commands.policies",
    "status": "thumbwheel.commands.status",
    "topics": "thumbwheel.commands.topics",
    "dead-letters": "thumbwheel.commands.dead_letters",
    "up": "thumbwheel.up",
    "doctor": "thumbwheel.doctor",
}
"""Commands of the SDK, each registered by the module named."""


class Part(NamedTuple):
    """A part of the distribution that an extra completes."""

    extra: str
    commands: dict[str, str]
    """Name and help of each command it brings."""


PARTS = {
    "service": Part("service,cpu", {"serve": "serve chats and take feedback", "keys": "make and revoke API keys"}),
    "learner": Part(
        "learner",
        {
            "learn": "start, pause and resume training",
            "evaluate": "score a file of preferences",
            "replay": "compare the learner's store with the bus, or let the learner read again",
        },
    ),
    "demo": Part("service,learner,cpu,demo", {"demo": "the whole loop on simulated people, with a report"}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; never a traceback for what can go wrong on purpose."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(given[0] if given else None)
    arguments, unknown = parser.parse_known_args(given)
    if unknown and not getattr(arguments, "missing", False):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    run: Callable[[argparse.Namespace], int] | None = getattr(arguments, "run", None)
    if run is None:
        parser.print_help()
        return 2
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except ConfigurationError as error:
        print(f"thumbwheel: {error}", file=sys.stderr)
        return 2
    except ThumbwheelError as error:
        print(f"thumbwheel: {explain(error)}", file=sys.stderr)
        return 1


def explain(error: ThumbwheelError) -> str:
    """The error, with what to do about it where that is known."""
    from thumbwheel.errors import ConnectionFailed, Forbidden, Unauthorized

    hint = ""
    if isinstance(error, Unauthorized | Forbidden):
        hint = " (give --api-key or THUMBWHEEL_API_KEY; on the service's machine --data finds its admin.key)"
    elif isinstance(error, ConnectionFailed):
        hint = " (is it running? `thumbwheel up` starts one; --url or THUMBWHEEL_URL says where it is)"
    return f"{error}{hint}"


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; when `command` is one of the SDK's own, no other part is imported for it."""
    parser = argparse.ArgumentParser(
        prog="thumbwheel",
        description="A self-hosted chat service that learns from the feedback of the people who use it.",
        epilog="`thumbwheel COMMAND --help` says more about each.",
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, module in OWN.items():
        if command in (None, name) or command not in OWN:
            import_module(module).register(subparsers)
    if command not in OWN:
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            _register(point, subparsers)
    return parser


def _register(point: EntryPoint, subparsers: "Subparsers") -> None:
    """Let a part add its commands; one whose extra is missing says so in their place."""
    try:
        register = point.load()
    except ImportError as error:
        part = PARTS.get(point.name, Part(point.name, {point.name: f"a command of {point.value}"}))
        for name, words in part.commands.items():
            _stand_in(name, words, part.extra, str(error), subparsers)
        return
    register(subparsers)


def _stand_in(name: str, words: str, extra: str, reason: str, subparsers: "Subparsers") -> None:
    def run(_: argparse.Namespace) -> int:
        raise ConfigurationError(f"`{name}` needs: pip install 'thumbwheel[{extra}]' ({reason})")

    parser = subparsers.add_parser(name, help=f"{words} (needs: pip install 'thumbwheel[{extra}]')")
    parser.set_defaults(run=run, missing=True)


def _version() -> str:
    import thumbwheel

    return f"thumbwheel {thumbwheel.__version__}"


if __name__ == "__main__":
    sys.exit(main())
