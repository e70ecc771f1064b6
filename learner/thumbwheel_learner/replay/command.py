"""`thumbwheel replay`: compare the learner's store with the bus, and let the learner read again."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thumbwheel.commands.service import console, print_json
from thumbwheel.errors import ConfigurationError
from thumbwheel_learner.errors import LearnerError

if TYPE_CHECKING:
    from thumbwheel.bus import EventBus
    from thumbwheel.commands.service import Subparsers
    from thumbwheel_learner.settings import Settings

FILE = "replay.db"
_ABOUT = (
    "The bus keeps every event that the learner has stored. `check` fills a new database from it, from the beginning, "
    "and compares that with the store; it changes nothing, and a learner may run meanwhile. `rewind` lets the learner "
    "read again what it has read: nothing comes of it where the store is right, and what is missing, older or altered "
    "there is mended. What only the store has stays."
)
_DATA = "folder of the state (THUMBWHEEL_DATA; default .thumbwheel)"


def register(subparsers: "Subparsers") -> None:
    """Add `replay`."""
    parser = subparsers.add_parser(
        "replay", help="compare the learner's store with the bus, or let the learner read again", description=_ABOUT
    )
    verbs = parser.add_subparsers(metavar="check|rewind", required=True)
    checking = verbs.add_parser(
        "check",
        help="is the store what the bus says?",
        description="Exit status 0: the store says what the bus says; 1: it does not, or it could not be found out. "
        "A check that was stopped goes on where it was when it is given again.",
        epilog="example: thumbwheel replay check --into postgresql://me@db/thumbwheel_rebuilt",
    )
    checking.add_argument(
        "--into", metavar="URL", help=f"database to fill (sqlite:///… or postgresql://…; default DATA/{FILE})"
    )
    checking.add_argument("--fresh", action="store_true", help="do not go on with an earlier check: empty it first")
    checking.add_argument("--json", action="store_true", help="one JSON document")
    rewinding = verbs.add_parser(
        "rewind",
        help="let the learner read again",
        description="Stop the learner first; it reads again when it is started.",
        epilog="example: thumbwheel replay rewind --from turns/0/1200 --from turns/1/1180",
    )
    rewinding.add_argument(
        "--from",
        dest="words",
        metavar="WHERE",
        action="append",
        required=True,
        help="beginning; oldest (as far back as the bus reaches); or TOPIC/PARTITION/OFFSET, once per partition",
    )
    for verb, run in ((checking, check), (rewinding, rewind)):
        verb.add_argument("--data", help=_DATA)
        verb.add_argument("--url", help="where the service is (THUMBWHEEL_URL)")
        verb.add_argument("--api-key", help="an admin key (THUMBWHEEL_API_KEY; default what DATA/admin.key holds)")
        verb.set_defaults(run=_told(run))


def check(arguments: argparse.Namespace) -> int:
    """Print the verdict; 0 only when the two are equal."""
    from thumbwheel_learner.replay import report
    from thumbwheel_learner.replay.check import check as compare_with_bus
    from thumbwheel_learner.replay.check import rebuild
    from thumbwheel_learner.replay.rebuild import ReplayStopped, prepare
    from thumbwheel_learner.store.session import connect, has_current_schema

    settings = _settings(arguments)
    url = _target(settings, arguments.into)
    store, rebuilt = connect(settings.database_url), connect(url)
    out = console(stderr=True)
    try:
        there = has_current_schema(store)
        if there is False:
            raise ReplayStopped("the store has the tables of another version: start the learner once, then check again")
        if prepare(rebuilt, fresh=arguments.fresh):
            out.print(f"going on with {report.shown(url)} (--fresh begins anew)", markup=False)
        with open_bus(settings) as bus, report.Watching(out) as watching:
            if there is None:
                rebuild(rebuilt, bus, watching)
                out.print(f"there is no store to compare with; the bus is now in {report.shown(url)}", markup=False)
                return 1
            found = compare_with_bus(store, rebuilt, bus, watching)
    finally:
        store.dispose()
        rebuilt.dispose()
    if found.equal and not arguments.into:
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (settings.data / name).unlink(missing_ok=True)
    if arguments.json:
        print_json({"equal": found.equal, "rebuilt": report.shown(url), **report.figures(found)})
    else:
        report.print_verdict(console(), found, report.shown(url))
    return 0 if found.equal else 1


def rewind(arguments: argparse.Namespace) -> int:
    """Set the offsets back, under the learner's lock."""
    from thumbwheel_learner.lock import exclusive
    from thumbwheel_learner.replay.bounds import named
    from thumbwheel_learner.replay.rewind import rewind as set_back
    from thumbwheel_learner.store.session import connect, has_current_schema, migrate

    settings, out = _settings(arguments), console()
    with exclusive(settings.data):
        engine = connect(settings.database_url)
        try:
            if has_current_schema(engine) is None:
                out.print("there is no store yet: a learner that starts reads from the beginning by itself")
                return 1
            migrate(engine)
            with open_bus(settings) as bus:
                moves = set_back(engine, bus, arguments.words)
        finally:
            engine.dispose()
    for at, before, after in moves:
        gone = f" ({before} to {after - 1} are gone from the bus)" if after > before else ""
        out.print(f"{named(at):24} {before} → {after}{gone}", markup=False)
    again = sum(max(0, move.before - move.after) for move in moves)
    out.print(f"{again} records will be read again when the learner starts" if moves else "already there")
    return 0


def _told(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say what went wrong on purpose, and what a database said, without a traceback."""

    def told(arguments: argparse.Namespace) -> int:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return run(arguments)
        except LearnerError as error:
            print(f"thumbwheel replay: {error}", file=sys.stderr)
        except SQLAlchemyError as error:
            print(f"thumbwheel replay: a database refuses: {error}", file=sys.stderr)
        return 1

    return told


def _settings(arguments: argparse.Namespace) -> "Settings":
    from thumbwheel_learner.environment import PREFIX
    from thumbwheel_learner.settings import from_environment

    given = {name: getattr(arguments, name) for name in ("data", "url", "api_key")}
    extra = {PREFIX + name.upper(): str(value) for name, value in given.items() if value is not None}
    return from_environment({**os.environ, **extra}, default_model="not needed here")


def _target(settings: "Settings", into: str | None) -> str:
    if into is None:
        settings.data.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{settings.data / FILE}"
    if not into.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")) or ":memory:" in into:
        raise ConfigurationError("--into must name a database: sqlite:///FILE or postgresql://…")
    if _same_place(into, settings.database_url):
        raise ConfigurationError("--into names the learner's own store; name a new database beside it")
    return into


def _same_place(one: str, other: str) -> bool:
    def place(url: str) -> Any:
        from sqlalchemy import make_url

        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return Path(parsed.database or "").absolute()
        return parsed.host, parsed.port or 5432, parsed.database, sorted(parsed.query.items())

    return place(one) == place(other)


def open_bus(settings: "Settings") -> "EventBus":
    """The bus that the learner reads."""
    from thumbwheel.bus.connect import connect_bus

    return connect_bus(
        settings.bus,
        url=settings.url,
        api_key=settings.admin_key(),
        bootstrap=settings.kafka_bootstrap,
        kafka_options=settings.kafka_options,
        client_id="thumbwheel-replay",
    )
