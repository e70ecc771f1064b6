"""What experiments share: their seeds, what an earlier call finished, and processes of their own."""

import argparse
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from thumbwheel.commands.child import tied

T = TypeVar("T")
RESULT = "cell.json"


def seeds(text: str) -> list[int]:
    """For an option: `1-3,7` is 1, 2, 3, 7."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"takes whole numbers separated by commas, not {text!r}") from error
    return found


def finished(file: Path, kind: type[T]) -> T | None:
    """What an earlier call left there; None when nothing that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def ask_learner(module: str, rows: Iterable[dict[str, Any]], file: Path, kind: type[T], *options: str) -> T:
    """What `python -m thumbwheel_learner.<module>` says of these rows, which are left in `file`."""
    file.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    command = tied(f"thumbwheel_learner.{module}", str(file), *options)
    said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    return msgspec.json.decode(said, type=kind)
