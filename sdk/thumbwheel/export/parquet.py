"""Parquet with the same columns as JSONL; what has no fixed shape in a turn is JSON text."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from thumbwheel.errors import ConfigurationError
from thumbwheel.export.read import What
from thumbwheel.export.rows import Row

ROWS_PER_GROUP = 1000
TURNS_PER_GROUP = 200
"""Fewer, since each brings a token id and a log-probability for every token."""
_LOOSE = ("messages", "metadata", "feedback")


def require_pyarrow() -> Any:
    """The library, or a `ConfigurationError` that says how to get it."""
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise ConfigurationError(
            f"Parquet needs pyarrow: pip install 'thumbwheel[export]', or choose --format jsonl ({error})"
        ) from error


def write_parquet(rows: Iterable[Row], file: BinaryIO, what: What) -> None:
    """Write row groups as the rows come; no more than one of them is in memory."""
    arrow = require_pyarrow()
    columns = _turn_schema(arrow) if what == "turns" else _schema(arrow, what)
    prepared = map(_flat_turn, rows) if what == "turns" else iter(rows)
    with import_module("pyarrow.parquet").ParquetWriter(file, columns, compression="zstd") as writer:
        for group in _groups(prepared, TURNS_PER_GROUP if what == "turns" else ROWS_PER_GROUP):
            writer.write_batch(arrow.RecordBatch.from_pylist(group, schema=columns))


def _groups(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while group := list(islice(rows, size)):
        yield group


def _schema(arrow: Any, what: What) -> Any:
    text = arrow.string()
    messages = arrow.list_(arrow.struct([("role", text), ("content", text)]))
    answers = {"preferences": ("chosen", "rejected"), "thumbs": ("completion",), "corrections": ("completion",)}
    own = [(name, messages) for name in ("prompt", *answers[what])]
    if what == "thumbs":
        own += [("label", arrow.bool_()), ("reasons", text), ("comment", text)]
    origin = ("kind", "source", "user", "feedback_id", "completion_id", "policy_version")
    return arrow.schema([*own, *((name, text) for name in origin), ("created_ms", arrow.int64())])


def _turn_schema(arrow: Any) -> Any:
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    choice = [("index", whole), ("text", text), ("finish_reason", text), ("token_ids", arrow.list_(whole))]
    choice += [("logprobs", arrow.list_(real)), ("tool_calls", text)]
    sampling = [(name, real) for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty")]
    sampling += [("repetition_penalty", real), ("top_k", whole), ("max_tokens", whole), ("seed", whole)]
    sampling += [("constrained", arrow.bool_())]
    names = ("completion_id", "conversation_id", "policy_version", "status", "origin", "user", "model", *_LOOSE)
    return arrow.schema(
        [
            *((name, text) for name in names),
            ("created_ms", whole),
            ("finished_ms", whole),
            ("choices", arrow.list_(arrow.struct(choice))),
            ("sampling", arrow.struct(sampling)),
            ("redacted", arrow.bool_()),
        ]
    )


def _flat_turn(row: Row) -> Row:
    choices = [{**choice, "tool_calls": _json(choice["tool_calls"])} for choice in row["choices"]]
    return {**row, **{name: _json(row[name]) for name in _LOOSE}, "choices": choices}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
