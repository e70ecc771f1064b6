"""`thumbwheel dead-letters`: records that could not be used; look at them, put them back, let them go."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thumbwheel.commands.bus import add_bus_options, open_bus
from thumbwheel.commands.plain import dump, plain, plain_bytes, print_plain_json
from thumbwheel.commands.service import ago, console
from thumbwheel.dead_letters import Letter, NotReplayable, mended, original, read_letters, replay, settle
from thumbwheel.errors import ConfigurationError
from thumbwheel.events import TOPICS, now_ms, to_builtins

if TYPE_CHECKING:
    from thumbwheel.bus import EventBus
    from thumbwheel.commands.service import Subparsers

SHOWN = 400
"""Lines of a value on a terminal, each as long as `LONGEST` at most; `--raw` writes all of it."""
LONGEST = 4_000


def register(subparsers: "Subparsers") -> None:
    """Add `dead-letters` and what is below it."""
    parser = subparsers.add_parser(
        "dead-letters",
        help="records that could not be used: list, show, replay, dismiss",
        description="What the learner cannot parse, or what violates a contract, is kept on\n"
        "a topic of its own with the reason and the original bytes. Without an action,\n"
        "the table of those nobody has settled yet.",
        epilog="examples:\n  thumbwheel dead-letters\n  thumbwheel dead-letters show thumbwheel.feedback/0/12\n"
        "  thumbwheel dead-letters replay thumbwheel.feedback/0/12 --value mended.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bus_options(parser)
    _add_filter(parser)
    parser.set_defaults(run=run_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions")
    listing = actions.add_parser("list", help="the table", description="The table of dead letters, the oldest first.")
    _add_filter(listing, default=argparse.SUPPRESS)
    listing.set_defaults(run=run_list)

    showing = actions.add_parser("show", help="one in full", description="Why, under which key, and what it holds.")
    showing.add_argument("letter", metavar="TOPIC/PARTITION/OFFSET")
    showing.add_argument("--raw", type=Path, metavar="FILE", help="write the original bytes to FILE instead")
    showing.add_argument("--json", action="store_true", help="one JSON document, key and value in base64")
    showing.set_defaults(run=run_show)

    replaying = actions.add_parser(
        "replay",
        help="append them to their topic again",
        description="Appends the original bytes to the original topic under the original key. What is bad still "
        "becomes a new dead letter; what was stored meanwhile is known by the id within and changes nothing.",
    )
    _add_choice(replaying)
    replaying.add_argument("--value", type=Path, metavar="FILE", help="replay this event in place of one letter's")
    replaying.set_defaults(run=run_replay)

    dismissing = actions.add_parser("dismiss", help="let them go", description="Settle letters without a replay.")
    _add_choice(dismissing)
    dismissing.set_defaults(run=run_dismiss)
    for action in (listing, showing, replaying, dismissing):
        add_bus_options(action, default=argparse.SUPPRESS)


def _add_filter(parser: argparse.ArgumentParser, **default: Any) -> None:
    words = "also those that were replayed or dismissed"
    parser.add_argument("--settled", action="store_true", help=words, **default)
    parser.add_argument(
        "--topic", choices=sorted(TOPICS), metavar="TOPIC", help="only those from this topic", **default
    )
    parser.add_argument("--json", action="store_true", help="one JSON document, without the values", **default)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("letters", metavar="TOPIC/PARTITION/OFFSET", nargs="*")
    parser.add_argument("--all", action="store_true", help="all that nobody has settled yet")
    parser.add_argument("--topic", choices=sorted(TOPICS), metavar="TOPIC", help="all of those from this topic")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run_list(arguments: argparse.Namespace) -> int:
    """Print the table."""
    with open_bus(arguments) as bus:
        letters = read_letters(bus)
    found = [letter for letter in letters.values() if arguments.topic in (None, letter.record.topic)]
    shown = [letter for letter in found if arguments.settled or letter.settled is None]
    if arguments.json:
        print_plain_json([_brief(letter) for letter in shown])
        return 0
    if shown:
        _print_table(shown)
    settled = sum(letter.settled is not None for letter in found)
    hidden = " (--settled shows them)" if settled and not arguments.settled else ""
    print(f"{len(found) - settled} open, {settled} settled{hidden}")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print or write one letter."""
    with open_bus(arguments) as bus:
        letter = _find(read_letters(bus), arguments.letter)
    if arguments.raw is not None:
        return _write(letter, arguments.raw)
    if arguments.json:
        print_plain_json({"id": letter.id, "state": letter.state, **to_builtins(letter.record)})
        return 0
    for name, value in _lines(letter):
        print(f"{name:12} {value}")
    lines = dump(letter.record.value)
    print("", *(line[:LONGEST] for line in lines[:SHOWN]), sep="\n")
    if len(lines) > SHOWN or any(len(line) > LONGEST for line in lines):
        print("… and more; --raw FILE writes all of it")
    return 0


def run_replay(arguments: argparse.Namespace) -> int:
    """0 when every letter asked for went back, 1 when some cannot."""
    if arguments.value is not None and len(arguments.letters) != 1:
        raise ConfigurationError("--value stands in for one letter: name exactly one")
    with open_bus(arguments) as bus:
        chosen = _choose(bus, arguments)
        stand_in = mended(chosen[0], _read(arguments.value)) if arguments.value else None
        if not _agreed(arguments, "replay", chosen):
            return 1
        refused = 0
        for letter in chosen:
            try:
                replay(bus, letter, stand_in or original(letter))
            except NotReplayable as error:
                print(f"not replayed: {plain(str(error))}", file=sys.stderr)
                refused += 1
            else:
                print(f"replayed {plain(letter.id)}")
    return 1 if refused else 0


def run_dismiss(arguments: argparse.Namespace) -> int:
    """Settle letters without a replay."""
    with open_bus(arguments) as bus:
        chosen = _choose(bus, arguments)
        if not _agreed(arguments, "dismiss", chosen):
            return 1
        settle(bus, chosen, "dismissed")
    for letter in chosen:
        print(f"dismissed {plain(letter.id)}")
    return 0


def _choose(bus: "EventBus", arguments: argparse.Namespace) -> list[Letter]:
    """The letters meant: named ones whatever their state, else the open ones."""
    if bool(arguments.letters) + arguments.all + (arguments.topic is not None) != 1:
        raise ConfigurationError("which ones? name letters, or give --topic TOPIC or --all")
    letters = read_letters(bus)
    if arguments.letters:
        return [_find(letters, name) for name in dict.fromkeys(arguments.letters)]
    topics = TOPICS if arguments.all else {arguments.topic}
    return [letter for letter in letters.values() if letter.settled is None and letter.record.topic in topics]


def _find(letters: Mapping[str, Letter], name: str) -> Letter:
    if name not in letters:
        raise ConfigurationError(f"no dead letter {plain(name)!r}; `thumbwheel dead-letters` lists those there are")
    return letters[name]


def _agreed(arguments: argparse.Namespace, verb: str, letters: list[Letter]) -> bool:
    """Whether to go on: something is there, and a person or `--yes` agrees."""
    if not letters:
        print(f"nothing to {verb}")
        return True
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody is there to ask: give --yes to {verb} {len(letters)}")
    for letter in letters[:10]:
        print(f"{plain(letter.id)}  {letter.state}  {plain(letter.record.reason)[:100]}")
    if len(letters) > 10:
        print(f"… and {len(letters) - 10} more")
    return input(f"{verb} {len(letters)}? [y/N] ").strip().lower() in ("y", "yes")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--value {path}: {error.strerror}") from error


def _write(letter: Letter, path: Path) -> int:
    record = letter.record
    try:
        path.write_bytes(record.value)
    except OSError as error:
        raise ConfigurationError(f"--raw {path}: {error.strerror}") from error
    cut = "" if len(record.value) == record.size else f", the beginning of {record.size}"
    print(f"{len(record.value)} bytes{cut} in {path}", file=sys.stderr)
    return 0


def _lines(letter: Letter) -> list[tuple[str, str]]:
    """Name and value of each line about a letter."""
    record, now = letter.record, now_ms()
    state = letter.state if letter.settled is None else f"{letter.state} {ago(letter.settled.created_ms, now)}"
    lines = [
        ("letter", plain(letter.id)),
        ("state", state),
        ("reason", plain(record.reason)),
        ("reported", f"{ago(record.created_ms, now)} by {plain(record.reported_by)}"),
        ("key", plain_bytes(record.key)),
        ("value", f"{record.size} bytes, sha256 {plain(record.sha256)}"),
    ]
    if not record.whole:
        words = f"only {len(record.value)} bytes travelled; learner_dead_letter in the learner's database has all"
        lines.append(("cut", words))
    return lines


def _brief(letter: Letter) -> dict[str, object]:
    whole = to_builtins(letter.record)
    kept = ("topic", "partition", "offset", "reason", "key", "size", "sha256", "whole", "reported_by", "created_ms")
    settled_ms = letter.settled.created_ms if letter.settled else None
    return {"id": letter.id, "state": letter.state, **{name: whole[name] for name in kept}, "settled_ms": settled_ms}


def _print_table(letters: list[Letter]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("letter", "state", "age", "bytes", "reason"):
        table.add_column(heading, no_wrap=heading != "reason", justify="right" if heading == "bytes" else "left")
    now = now_ms()
    for letter in letters:
        record = letter.record
        reason = plain(record.reason)
        cells = [plain(letter.id), letter.state, ago(record.created_ms, now), str(record.size)]
        table.add_row(*(Text(cell) for cell in (*cells, reason if len(reason) <= 300 else f"{reason[:300]}…")))
    console().print(table)
