"""A file has its name only when it is whole, whatever breaks off; Parquet says the same as JSONL."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyarrow import parquet as pq
from tests.unit.sdk.export.test_rows import compared, record, turn

from thumbwheel.errors import ConfigurationError, ServerError
from thumbwheel.export import rows
from thumbwheel.export.files import Format, NotWritten, write, write_jsonl
from thumbwheel.export.parquet import ROWS_PER_GROUP, require_pyarrow, write_parquet
from thumbwheel.export.rows import Row, Told
from thumbwheel.types import Correction, Sampling, Thumb, TurnChoice

PREFERENCE = rows.preference(compared("this", other_text="x"))
SAMPLING = Sampling(
    temperature=0.5, top_p=1.0, top_k=-1, min_p=0.0, presence_penalty=0.0, frequency_penalty=0.0,
    repetition_penalty=1.0, max_tokens=9,
)  # fmt: skip
CHOICE = TurnChoice(
    index=0, text="Hi", token_ids=[1, 2], logprobs=[-0.5, -1.0], tool_calls=[{"id": "t", "x": {"y": 1}}]
)


def broken(after: int, error: BaseException) -> Iterator[Row]:
    for _ in range(after):
        yield PREFERENCE
    raise error


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("error", [ServerError("away", status=503), KeyboardInterrupt()], ids=["service", "ctrl-c"])
def test_what_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, form: Format, error: BaseException
) -> None:
    out = tmp_path / "pairs"
    out.write_text("before")
    with pytest.raises(type(error)):
        write(broken(ROWS_PER_GROUP + 1, error), out, form, "preferences")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("pairs", "before")]


KILLED = """
import os, signal, sys
from pathlib import Path
from thumbwheel.export.files import write

def rows():
    for _ in range(5000):
        yield {"prompt": "x" * 99}
    os.kill(os.getpid(), signal.SIGKILL)

write(rows(), Path(sys.argv[1]), "jsonl", "preferences")
"""


def test_a_killed_export_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    told = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert told.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".pairs.jsonl.")
    assert left.name.endswith(".part")


def test_a_whole_file_replaces_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    out.write_text("before")
    write([PREFERENCE] * 3, out, "jsonl", "preferences")
    assert [json.loads(line) for line in out.read_text().splitlines()] == [PREFERENCE] * 3
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "none" / "pairs"):
        with pytest.raises(NotWritten, match=f"cannot write {out}"):
            write([PREFERENCE], out, "jsonl", "preferences")


EXPORTS: list[tuple[Any, list[Row]]] = [
    ("preferences", [PREFERENCE, rows.preference(Told(record(Correction(completion_id="c1", text="x")), turn()))]),
    ("thumbs", [rows.thumb(Told(record(Thumb(completion_id="c1", value="up", reasons=["a"])), turn()))]),
    ("corrections", [rows.correction(Told(record(Correction(completion_id="c1", text="x")), turn()))]),
]


def columns(file: io.BytesIO) -> list[Row]:
    return pq.read_table(file).to_pylist()


@pytest.mark.parametrize(("what", "given"), EXPORTS, ids=[what for what, _ in EXPORTS])
def test_parquet_says_the_same_as_jsonl(what: Any, given: list[Row]) -> None:
    lines, table = io.BytesIO(), io.BytesIO()
    write_jsonl(given, lines)
    write_parquet(given, table, what)
    assert columns(table) == [json.loads(line) for line in lines.getvalue().splitlines()] == given


def test_parquet_of_nothing_still_has_its_columns() -> None:
    file = io.BytesIO()
    write_parquet([], file, "preferences")
    assert pq.read_schema(file).names == list(PREFERENCE)


def test_a_turn_in_parquet_keeps_numbers_as_numbers_and_loose_ends_as_json() -> None:
    row = rows.whole_turn(turn(choices=[CHOICE], sampling=SAMPLING, metadata={"k": "v"}))
    file = io.BytesIO()
    write_parquet([row, rows.whole_turn(turn())], file, "turns")
    whole, bare = columns(file)
    assert json.loads(whole["messages"]) == row["messages"]
    assert json.loads(whole["metadata"]) == {"k": "v"}
    assert whole["sampling"] == row["sampling"]
    (choice,) = whole["choices"]
    assert (choice["token_ids"], choice["logprobs"]) == ([1, 2], [-0.5, -1.0])
    assert json.loads(choice["tool_calls"]) == CHOICE.tool_calls
    assert (bare["sampling"], bare["user"], bare["choices"][0]["token_ids"]) == (None, None, None)


def test_rows_are_written_in_groups_as_they_come() -> None:
    file = io.BytesIO()
    sizes: list[int] = []

    def counted() -> Iterator[Row]:
        for i in range(3 * ROWS_PER_GROUP):
            if i % ROWS_PER_GROUP == 0:
                sizes.append(file.tell())
            yield PREFERENCE

    write_parquet(counted(), file, "preferences")
    assert sizes == sorted(set(sizes)), "a group is on its way before the next one is read"
    assert pq.read_metadata(file).num_row_groups == 3


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"thumbwheel\[export\].*--format jsonl"):
        require_pyarrow()
    assert not isinstance(sys.modules["pyarrow"], ModuleType)
