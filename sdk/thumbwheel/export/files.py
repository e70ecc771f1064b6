"""Where rows go: JSONL or Parquet, in a file that has its name only when it is whole."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from thumbwheel.errors import ThumbwheelError
from thumbwheel.export.read import What
from thumbwheel.export.rows import Row

Format = Literal["jsonl", "parquet"]


class NotWritten(ThumbwheelError):
    """The file cannot be made; the message says why."""


def write(rows: Iterable[Row], out: Path, form: Format, what: What) -> None:
    """Write all rows, then give the file its name; raises `NotWritten`, and whatever reading the rows raises."""
    with _whole(out) as file:
        if form == "parquet":
            from thumbwheel.export.parquet import write_parquet

            write_parquet(rows, file, what)
        else:
            write_jsonl(rows, file)


def write_stdout(rows: Iterable[Row]) -> None:
    """JSONL on standard output."""
    write_jsonl(rows, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def write_jsonl(rows: Iterable[Row], file: BinaryIO) -> None:
    """One JSON object per line."""
    encoder = msgspec.json.Encoder()
    for row in rows:
        file.write(encoder.encode(row) + b"\n")


@contextmanager
def _whole(out: Path) -> Iterator[BinaryIO]:
    """A file beside `out` that takes its name on success and is removed on failure."""
    if out.is_dir():
        raise NotWritten(f"cannot write {out}: it is a folder")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise NotWritten(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
