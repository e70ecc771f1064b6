"""The service's part of the `thumbwheel` command: `serve` and `keys`."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from sqlmodel import Session

from thumbwheel.events import now_ms
from thumbwheel_service import settings as service_settings
from thumbwheel_service.settings import PREFIX, Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

T = TypeVar("T")


def register(subparsers: "Subparsers") -> None:
    """Add `serve` and `keys`; called by the SDK's command line through the entry point `thumbwheel.commands`."""
    serving = subparsers.add_parser("serve", help="serve chats and take feedback")
    for name, meaning in (
        ("data", "folder of the state (THUMBWHEEL_DATA)"),
        ("host", "address to listen on (THUMBWHEEL_HOST)"),
        ("port", "port to listen on (THUMBWHEEL_PORT)"),
        ("model", "local path or hub id of a model; default the demo policy (THUMBWHEEL_MODEL)"),
        ("database-url", "sqlite:///… or postgresql://… (THUMBWHEEL_DATABASE_URL)"),
        ("kafka-bootstrap", "host:port of a broker (THUMBWHEEL_KAFKA_BOOTSTRAP)"),
        ("promote", "auto or manual (THUMBWHEEL_PROMOTE)"),
    ):
        serving.add_argument(f"--{name}", help=meaning)
    serving.set_defaults(run=serve)

    managing = subparsers.add_parser("keys", help="make, list and revoke API keys")
    actions = managing.add_subparsers(dest="action", required=True)
    making = actions.add_parser("create", help="make a key; its secret is shown once")
    making.add_argument("--name", required=True, help="whose key it is")
    making.add_argument("--scope", choices=("chat", "admin"), default="chat")
    making.add_argument("--expires-days", type=float, help="default: never")
    listing = actions.add_parser("list", help="every key by its public prefix")
    revoking = actions.add_parser("revoke", help="refuse a key from now on")
    revoking.add_argument("prefix", help="as `keys list` shows it")
    for parser, run in ((making, create_key), (listing, list_keys), (revoking, revoke_key)):
        parser.add_argument("--data", help="folder of the service's state (THUMBWHEEL_DATA)")
        parser.add_argument("--database-url", help="as for serve (THUMBWHEEL_DATABASE_URL)")
        parser.set_defaults(run=run)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The environment's settings, with what the command line says on top; raises `BadSetting`."""
    names = ("data", "host", "port", "model", "database_url", "kafka_bootstrap", "promote")
    given = {PREFIX + name.upper(): str(v) for name in names if (v := getattr(arguments, name, None)) is not None}
    return service_settings.from_environment({**os.environ, **given})


def serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; chats under way are finished first."""
    from thumbwheel_service.server import run

    return run(settings_of(arguments))


def create_key(arguments: argparse.Namespace) -> int:
    """Print a new key, once."""
    from thumbwheel_service.auth import keys

    key = keys.mint()
    expires = None
    if arguments.expires_days is not None:
        expires = now_ms() + round(timedelta(days=arguments.expires_days).total_seconds() * 1000)

    def work(session: Session) -> None:
        keys.create(session, key, name=arguments.name, scope=arguments.scope, expires_ms=expires)

    _in_database(settings_of(arguments), work)
    print(key.text)
    print("Keep it: only its digest is stored.", file=sys.stderr)
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """Print every key's prefix, scope, state and name."""
    from thumbwheel_service.auth import keys

    def work(session: Session) -> list[tuple[str, str, str, str, str]]:
        now = now_ms()
        return [
            (row.prefix, row.scope, _state(row.revoked_ms, row.expires_ms, now), _day(row.created_ms), row.name)
            for row in keys.all_keys(session)
        ]

    for prefix, scope, state, created, name in _in_database(settings_of(arguments), work):
        print(f"{prefix}  {scope:5}  {state:22}  {created}  {name}")
    return 0


def revoke_key(arguments: argparse.Namespace) -> int:
    """Revoke by prefix; a running service notices within about a second."""
    from thumbwheel_service.auth import keys
    from thumbwheel_service.errors import Missing

    try:
        _in_database(settings_of(arguments), lambda session: keys.revoke(session, arguments.prefix) and None)
    except Missing as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(f"{arguments.prefix} is revoked")
    return 0


def _in_database(settings: Settings, work: Callable[[Session], T]) -> T:
    """One transaction in the service's database, brought up to date first; the service may be running."""
    from thumbwheel_service.db.migrate import open_database

    settings.data.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    try:
        with (
            database.connect().execution_options(writes=True) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            return work(session)
    finally:
        database.dispose()


def _state(revoked_ms: int | None, expires_ms: int | None, now: int) -> str:
    if revoked_ms is not None:
        return f"revoked {_day(revoked_ms)}"
    if expires_ms is not None:
        return f"{'expired' if expires_ms <= now else 'expires'} {_day(expires_ms)}"
    return "usable"


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, tz=UTC).strftime("%Y-%m-%d")
