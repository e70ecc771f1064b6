"""`thumbwheel topics`: make the Kafka topics, with the partitions and settings that everything relies on."""

import argparse
from typing import TYPE_CHECKING

from thumbwheel.bus.connect import connect_bus
from thumbwheel.commands.bus import PREFIX, kafka_bootstrap, kafka_options
from thumbwheel.commands.service import console, print_json
from thumbwheel.errors import ConfigurationError

if TYPE_CHECKING:
    from thumbwheel.commands.service import Subparsers

WELL = ("created", "kept")


def register(subparsers: "Subparsers") -> None:
    """Add `topics`."""
    parser = subparsers.add_parser(
        "topics",
        help="make the Kafka topics (safe to run again)",
        description="Create the topics that are missing and check the partition counts of those that are there. "
        f"Nothing that exists is changed. Other settings of kafka-python come from {PREFIX}<OPTION>, e.g. "
        f"{PREFIX}SECURITY_PROTOCOL.",
        epilog="example: thumbwheel topics --kafka-bootstrap kafka-1:9092,kafka-2:9092",
    )
    parser.add_argument("--kafka-bootstrap", help=f"host:port, comma-separated ({PREFIX}BOOTSTRAP)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when every topic is as it must be."""
    bootstrap = kafka_bootstrap(arguments)
    if not bootstrap:
        raise ConfigurationError(f"which Kafka? give --kafka-bootstrap host:port or set {PREFIX}BOOTSTRAP")
    with connect_bus("kafka", bootstrap=bootstrap, kafka_options=kafka_options()) as bus:
        states = bus.ensure_topics()
    if arguments.json:
        print_json(states)
    else:
        out = console()
        for name, state in states.items():
            out.print(f"{name:24} {state}", markup=False)
    return 0 if all(state in WELL for state in states.values()) else 1
