"""`thumbwheel export`: feedback and turns as files to train on, read through the same API as everybody's."""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import msgspec

from thumbwheel.commands.service import add_service_options, console, open_client
from thumbwheel.errors import ConfigurationError
from thumbwheel.types import Source, Timestamp

if TYPE_CHECKING:
    from rich.progress import Progress

    from thumbwheel.commands.service import Subparsers
    from thumbwheel.export.files import Format
    from thumbwheel.export.read import Tally
    from thumbwheel.export.rows import Row
    from thumbwheel.options import ReadBack

WHATS = ("preferences", "thumbs", "corrections", "turns")
PAGE = 100
"""Rows asked for at once: turns come with their tokens, some ten kilobytes each."""
_SOURCES = get_args(Source)


def register(subparsers: "Subparsers") -> None:
    """Add `export`."""
    parser = subparsers.add_parser(
        "export",
        help="write preferences, thumbs, corrections or turns to a file to train on",
        description="Reads a running service page by page and writes JSONL or Parquet, newest first, in the formats of "
        "TRL's trainers: preferences (prompt, chosen, rejected: comparisons, and corrections over what they correct), "
        "thumbs (prompt, completion, label), corrections (prompt, completion: demonstrations too), turns (everything "
        "recorded). Left out and counted: retracted feedback, turns that were lost or are still being answered, ties, "
        "empty or equal answers, other sources, and messages that are more than text. The file takes its name only "
        "when it is whole, and replaces what was there.",
        epilog="example: thumbwheel export preferences --out pairs.parquet --since 2026-01-01 --policy-version base",
    )
    parser.add_argument("what", choices=WHATS, metavar="WHAT", help=", ".join(WHATS))
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write; - for JSONL on standard output")
    parser.add_argument(
        "--format", choices=("jsonl", "parquet"), help="default: parquet for a file that ends so, else jsonl"
    )
    _add_filters(parser)
    add_service_options(parser)
    parser.set_defaults(run=run)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters (all of them together)")
    group.add_argument("--conversation", metavar="ID", help="of this conversation")
    group.add_argument("--user", metavar="ID", help="feedback that this person gave, or this person's turns")
    group.add_argument("--policy-version", metavar="VERSION", help="on answers of this version, or its turns")
    when = "an RFC 3339 time with an offset, or a date, which is its midnight in UTC"
    group.add_argument("--since", type=_moment, metavar="TIME", help=f"made at this time or later: {when}")
    group.add_argument("--until", type=_moment, metavar="TIME", help="made before this time")
    group.add_argument(
        "--source",
        choices=(*_SOURCES, "any"),
        action="append",
        help="who judged; may be repeated (default human; not for turns)",
    )


def _moment(text: str) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        return msgspec.convert(text, Timestamp)
    except (ValueError, msgspec.ValidationError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date and no RFC 3339 time with an offset") from error


def run(arguments: argparse.Namespace) -> int:
    """0 when the file is whole."""
    from thumbwheel.export.read import Tally, read_rows

    form = _format(arguments)
    tally = Tally()
    with open_client(arguments, max_retries=5) as client, _progress() as progress:
        rows = read_rows(client, arguments.what, _wanted(arguments), _sources(arguments), tally)
        _write(_shown(rows, arguments.what, tally, progress), arguments, form)
    out = console(stderr=arguments.out == "-")
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.left_out.items(), key=lambda e: -e[1]))
    out.print(f"{tally.written} {arguments.what} written; left out: {left or 'none'}", markup=False)
    return 0


def _format(arguments: argparse.Namespace) -> "Format":
    """What to write; raises `ConfigurationError` before anything is read."""
    form: Format = arguments.format or ("parquet" if arguments.out.endswith(".parquet") else "jsonl")
    if form == "parquet":
        from thumbwheel.export.parquet import require_pyarrow

        if arguments.out == "-":
            raise ConfigurationError("Parquet needs a file: --out - writes JSONL only")
        require_pyarrow()
    if arguments.source and arguments.what == "turns":
        raise ConfigurationError("--source says who judged; turns have none")
    return form


def _wanted(arguments: argparse.Namespace) -> "ReadBack":
    return {
        "page_size": PAGE,
        "conversation_id": arguments.conversation,
        "user": arguments.user,
        "policy_version": arguments.policy_version,
        "since": arguments.since,
        "until": arguments.until,
    }


def _sources(arguments: argparse.Namespace) -> tuple[Source, ...]:
    given = arguments.source or ["human"]
    return _SOURCES if "any" in given else cast("tuple[Source, ...]", tuple(given))


def _write(rows: "Iterable[Row]", arguments: argparse.Namespace, form: "Format") -> None:
    from thumbwheel.export.files import write, write_stdout

    if arguments.out == "-":
        write_stdout(rows)
    else:
        write(rows, Path(arguments.out).expanduser(), form, arguments.what)


def _progress() -> "Progress":
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _shown(rows: "Iterable[Row]", what: str, tally: "Tally", progress: "Progress") -> "Iterator[Row]":
    """The same rows, with how many there are and how far back the reading has come; nobody knows the end before."""
    task = progress.add_task(f"exporting {what}", total=None)
    for row in rows:
        back = datetime.fromtimestamp((tally.reached_ms or 0) / 1000, UTC)
        left = sum(tally.left_out.values())
        said = f"{what}: {tally.written} written, {left} left out, back to {back:%Y-%m-%d %H:%M}"
        progress.update(task, description=said)
        yield row
