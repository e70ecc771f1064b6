"""The SDK's own commands, one per file; each has `register(subparsers)` and runs as `run(arguments) -> exit status`."""

from thumbwheel.commands.learn import learn_command
from thumbwheel.commands.service import add_service_options, open_client

__all__ = ["add_service_options", "learn_command", "open_client"]
