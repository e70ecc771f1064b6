"""What all commands that talk to a service share: where it is, who is asking, and how to print."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

    from thumbwheel.client import Client

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

DATA_VARIABLE = "THUMBWHEEL_DATA"
DEFAULT_DATA = ".thumbwheel"


def add_service_options(parser: argparse.ArgumentParser, *, admin: bool = False, default: str | None = None) -> None:
    """`--url` and `--api-key`; with `admin` also `--data`, where a service on this machine keeps its admin key.

    `default` is `argparse.SUPPRESS` for an action below a command that has the options too.
    """
    group = parser.add_argument_group("service")
    group.add_argument(
        "--url", default=default, help="where the service is (THUMBWHEEL_URL; default http://127.0.0.1:8000)"
    )
    group.add_argument("--api-key", default=default, help="key to show (THUMBWHEEL_API_KEY)")
    if admin:
        group.add_argument(
            "--data",
            default=default,
            help="state folder of a service on this machine, whose admin.key is used when no key is given "
            f"({DATA_VARIABLE}; default {DEFAULT_DATA})",
        )


def resolve_key(arguments: argparse.Namespace) -> str | None:
    """The key given, else the environment's, else, for a service on this machine, what `DATA/admin.key` holds."""
    from thumbwheel.connection import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE, is_local

    key = arguments.api_key or os.environ.get(KEY_VARIABLE)
    if key or not hasattr(arguments, "data"):
        return key
    if not is_local(arguments.url or os.environ.get(URL_VARIABLE) or DEFAULT_URL):
        return None
    folder = Path(arguments.data or os.environ.get(DATA_VARIABLE) or DEFAULT_DATA).expanduser()
    try:
        return (folder / "admin.key").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def open_client(arguments: argparse.Namespace, **options: Any) -> "Client":
    """A client by `--url`, `--api-key` and the environment; raises `ConfigurationError`."""
    from thumbwheel.client import Client

    return Client(arguments.url, api_key=resolve_key(arguments), **options)


def console(*, stderr: bool = False) -> "Console":
    """Where to print; wide enough, when piped, that no cell of a table is cut."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False, soft_wrap=not stream.isatty())


def print_json(value: Any) -> None:
    """One indented JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def ago(moment_ms: int, now_ms: int) -> str:
    """How long ago, in one unit."""
    seconds = max(0, now_ms - moment_ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
