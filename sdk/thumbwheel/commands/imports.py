"""`thumbwheel import`: human preferences from a file, through the same API as everybody's feedback."""

import argparse
import asyncio
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from thumbwheel.commands.service import add_service_options, console, print_json, resolve_key
from thumbwheel.errors import (
    BadRequest,
    ConfigurationError,
    Conflict,
    PayloadTooLarge,
    ThumbwheelError,
    UnprocessableEntity,
)
from thumbwheel.preferences import Line, Pair, open_file, read_pairs
from thumbwheel.types import Comparison

if TYPE_CHECKING:
    from rich.progress import Progress

    from thumbwheel.async_client import AsyncClient
    from thumbwheel.commands.service import Subparsers

SHOWN = 50
_REFUSED = (BadRequest, Conflict, PayloadTooLarge, UnprocessableEntity)


class Problem(Struct, frozen=True):
    """A line that did not become a preference."""

    line: int
    reason: str


class Tally(Struct):
    """What became of the lines; every one that is not empty is counted exactly once."""

    file: str
    imported: int = 0
    already_there: int = 0
    repeated: int = 0
    """Lines whose pair stands further up in the same file."""
    malformed: int = 0
    refused: int = 0
    problems: list[Problem] = []
    stopped: str | None = None
    """Why it ended before the end of the file."""


def register(subparsers: "Subparsers") -> None:
    """Add `import`."""
    parser = subparsers.add_parser(
        "import",
        help="send a file of human preferences to the service",
        description="Reads JSONL (plain or gzip) with chosen and rejected: whole transcripts that begin with "
        "'\\n\\nHuman:', or answers to a prompt (a text or a list of messages). Each pair becomes a turn with two "
        "answers and a comparison. Ids follow from the content, so running it again resumes and doubles nothing. "
        "Lines that are no pair are counted and listed with their numbers; exits 0 when anything is there.",
        epilog="example: thumbwheel import human_pairs.jsonl.gz --concurrency 32",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    add_service_options(parser)
    parser.add_argument("--concurrency", type=int, default=16, help="requests under way at once (default 16)")
    parser.add_argument("--user", help="who judged, for lines that do not say; default: nobody in particular")
    parser.add_argument("--json", action="store_true", help="the summary with every problem, as one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when at least one pair is in the service, 1 otherwise or when it had to stop early."""
    if arguments.concurrency < 1:
        raise ConfigurationError("--concurrency must be at least 1")
    tally = Tally(file=str(arguments.file))
    with open_file(arguments.file) as file:
        asyncio.run(_import(arguments, file, tally))
    if arguments.json:
        print_json(tally)
    else:
        _print(tally)
    return 0 if tally.imported + tally.already_there and tally.stopped is None else 1


async def _import(arguments: argparse.Namespace, file: BufferedReader, tally: Tally) -> None:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from thumbwheel.async_client import AsyncClient

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        lines = _shown(read_pairs(file), file, arguments.file.stat().st_size, tally, progress)
        async with AsyncClient(arguments.url, api_key=resolve_key(arguments), max_retries=5) as client:
            await send_all(client, lines, tally, concurrency=arguments.concurrency, user=arguments.user)


def _shown(
    lines: Iterator[Line], file: BufferedReader, size: int, tally: Tally, progress: "Progress"
) -> Iterator[Line]:
    """The same lines, with progress by the bytes read."""
    task = progress.add_task("importing", total=max(1, size))
    for line in lines:
        done = tally.imported + tally.already_there
        progress.update(task, completed=file.tell(), description=f"importing: {done} pairs, line {line.number}")
        yield line


async def send_all(
    client: "AsyncClient", lines: Iterator[Line], tally: Tally, *, concurrency: int, user: str | None
) -> None:
    """Send every pair, `concurrency` at a time; a refused one is noted, a service that is away stops the rest."""
    seen: set[str] = set()

    async def work() -> None:
        for line in lines:
            if line.pair is None:
                tally.malformed += 1
                tally.problems.append(Problem(line.number, line.reason or ""))
            elif line.pair.digest in seen:
                tally.repeated += 1
            else:
                seen.add(line.pair.digest)
                await _send_noted(client, line.number, line.pair, user, tally)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except* ThumbwheelError as errors:
        tally.stopped = str(errors.exceptions[0])
    tally.problems.sort(key=lambda problem: problem.line)


async def _send_noted(client: "AsyncClient", number: int, pair: Pair, user: str | None, tally: Tally) -> None:
    try:
        fresh = await send_pair(client, pair, user)
    except _REFUSED as error:
        tally.refused += 1
        tally.problems.append(Problem(number, f"refused: {error}"))
    else:
        tally.imported += fresh
        tally.already_there += not fresh


async def send_pair(client: "AsyncClient", pair: Pair, user: str | None) -> bool:
    """A turn with both answers and the comparison of the first with the second; False when both were there before.

    The completion's id follows from the content, and the comparison's natural key from the completion, so the service
    recognises both. Raises `ThumbwheelError`.
    """
    identity = f"import-{pair.digest}"
    turn = await client.with_raw_response.turns.create(
        pair.messages,
        [pair.chosen, pair.rejected],
        completion_id=identity,
        conversation_id=f"import-{pair.prompt_digest}",
        model="import",
    )
    if turn.status_code == 200 and any(record.kind == "comparison" for record in turn.parsed.feedback):
        return False
    comparison = Comparison(
        completion_id=identity, value="this", other_completion_id=identity, other_choice=1, user=pair.user or user
    )
    await client.feedback.give(comparison)
    return True


def _print(tally: Tally) -> None:
    out = console(stderr=True)
    for problem in tally.problems[:SHOWN]:
        out.print(f"line {problem.line}: {problem.reason}", markup=False)
    if len(tally.problems) > SHOWN:
        out.print(f"… and {len(tally.problems) - SHOWN} more; --json lists all of them")
    if tally.stopped:
        out.print(f"stopped early: {tally.stopped}\nrun it again to go on where it stopped", markup=False)
    console().print(
        f"{tally.imported} imported, {tally.already_there} already there, {tally.repeated} repeated, "
        f"{tally.malformed} malformed, {tally.refused} refused",
        markup=False,
    )
