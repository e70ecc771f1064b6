"""Which bus a command means: Kafka when its brokers are known, else the log of the service."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from thumbwheel.bus.connect import connect_bus
from thumbwheel.commands.service import add_service_options, open_client, resolve_key
from thumbwheel.errors import ConfigurationError

if TYPE_CHECKING:
    from thumbwheel.bus import EventBus

PREFIX = "THUMBWHEEL_KAFKA_"


def add_bus_options(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """`--kafka-bootstrap`, or `--url` with an admin key.

    `default` is `argparse.SUPPRESS` for an action below a command that has the options too.
    """
    add_service_options(parser, admin=True, default=default)
    parser.add_argument(
        "--kafka-bootstrap",
        default=default,
        help=f"host:port, comma-separated ({PREFIX}BOOTSTRAP), when Kafka is the bus; the service is not asked then",
    )


def kafka_bootstrap(arguments: argparse.Namespace) -> str | None:
    """The brokers given, else the environment's."""
    return arguments.kafka_bootstrap or os.environ.get(f"{PREFIX}BOOTSTRAP")


def kafka_options() -> dict[str, Any]:
    """Settings of kafka-python from the environment."""
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name != f"{PREFIX}BOOTSTRAP"
    }


def open_bus(arguments: argparse.Namespace) -> "EventBus":
    """The bus of that deployment; raises `ConfigurationError`, `ApiError`, `ConnectionFailed`.

    The service is asked whether its log is the bus: with Kafka it would hold none of what others have written.
    """
    if bootstrap := kafka_bootstrap(arguments):
        return connect_bus("kafka", bootstrap=bootstrap, kafka_options=kafka_options())
    with open_client(arguments) as client:
        status = client.status()
        url = client.base_url
    if status.bus != "embedded":
        raise ConfigurationError(
            f"the bus of {url} is Kafka: give --kafka-bootstrap host:port or set {PREFIX}BOOTSTRAP"
        )
    return connect_bus("embedded", url=url, api_key=resolve_key(arguments))
