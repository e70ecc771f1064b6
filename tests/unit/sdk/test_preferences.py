"""Preference files: both forms, and every way a line can be no pair."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from thumbwheel.preferences import Line, Malformed, UnreadableFile, open_file, parse_line, parse_row, read_pairs

ANN = "\n\nHuman: Hi\n\nAssistant: Hello, Ann"
USER = [{"role": "user", "content": "Hi"}]


def lines_of(path: Path) -> list[Line]:
    with open_file(path) as file:
        return list(read_pairs(file))


def test_transcripts_share_their_prompt() -> None:
    dialogue = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Where is\n\nmy order?\n\nAssistant:"
    pair = parse_row({"chosen": f"{dialogue} Here.", "rejected": f"{dialogue} Gone."})
    assert [m["role"] for m in pair.messages] == ["user", "assistant", "user"]
    assert pair.messages[-1]["content"] == "Where is\n\nmy order?"
    assert (pair.chosen, pair.rejected) == ("Here.", "Gone.")


PROMPTED: list[dict[str, Any]] = [
    {"prompt": "Hi", "chosen": "a", "rejected": "b"},
    {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "a", "rejected": "b"},
    {"prompt": "\n\nHuman: Hi", "chosen": "a", "rejected": "b"},
    {"prompt": USER, "chosen": "a", "rejected": "b"},
    {
        "prompt": USER,
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    },
    {
        "chosen": [*USER, {"role": "assistant", "content": "a"}],
        "rejected": [*USER, {"role": "assistant", "content": "b"}],
    },
    {"prompt": "Hi", "chosen": "a", "rejected": "b", "score": 3, "source": {"set": "x"}},
]


@pytest.mark.parametrize("row", PROMPTED)
def test_prompts_come_in_several_forms_that_mean_the_same(row: dict[str, Any]) -> None:
    pair = parse_row(row)
    assert (pair.messages, pair.chosen, pair.rejected) == (USER, "a", "b")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"rejected": ANN}, "no 'chosen'"),
        ({"chosen": ANN, "rejected": None}, "no 'rejected'"),
        ({"chosen": ANN, "rejected": ANN}, "the same answer"),
        ({"chosen": ANN, "rejected": "\n\nHuman: Ho\n\nAssistant: Hello"}, "differ before"),
        ({"chosen": ANN, "rejected": "\n\nHuman: Hi\n\nAssistant: Y\n\nHuman: Z"}, "does not end with an answer"),
        ({"chosen": ANN, "rejected": "\n\nHuman: Hi\n\nAssistant: "}, "rejected answer is empty"),
        ({"chosen": "hello", "rejected": "ho"}, "neither a transcript"),
        ({"chosen": 3, "rejected": 4}, "neither a text nor a list"),
        ({"prompt": "  ", "chosen": "a", "rejected": "b"}, "prompt is empty"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "neither a text nor a list"),
        ({"prompt": [{"role": "boss", "content": "x"}], "chosen": "a", "rejected": "b"}, "known role"),
        ({"prompt": ["x"], "chosen": "a", "rejected": "b"}, "not a message"),
        ({"prompt": USER, "chosen": [*USER, *USER], "rejected": "b"}, "does not end with an answer"),
        (
            {"prompt": "Ho", "chosen": [*USER, {"role": "assistant", "content": "a"}], "rejected": "b"},
            "other messages than the prompt",
        ),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "user": 7}, "user is not a string"),
    ],
)
def test_a_row_that_is_no_pair_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parse_row(row)


@pytest.mark.parametrize("line", [b"{", b"[1]", b"null", b'"x"', b'{"chosen": "\xff"}', b"\x00\x01"])
def test_a_line_that_is_no_object_says_so(line: bytes) -> None:
    with pytest.raises(Malformed):
        parse_line(line)


def test_the_same_content_has_the_same_digest_and_other_content_another() -> None:
    one = parse_row({"prompt": "Hi", "chosen": "a", "rejected": "b", "user": "ann"})
    same = parse_row({"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"})
    turned = parse_row({"prompt": "Hi", "chosen": "b", "rejected": "a"})
    assert one.digest == same.digest != turned.digest
    assert one.prompt_digest == turned.prompt_digest


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "data"])
def test_every_line_is_accounted_for_with_its_number(tmp_path: Path, suffix: str) -> None:
    good = json.dumps({"prompt": "Hi", "chosen": "a", "rejected": "b"})
    content = f"{good}\n\nnot json\n{good}".encode()
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(content if suffix == "jsonl" else gzip.compress(content))
    found = lines_of(path)
    assert [line.number for line in found] == [1, 3, 4]
    assert [line.pair is not None for line in found] == [True, False, True]


def test_a_compressed_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    rows = b"".join(
        json.dumps({"prompt": f"{i:x}" * 99, "chosen": "a", "rejected": "b"}).encode() + b"\n" for i in range(2000)
    )
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(rows)[:-200])
    found = lines_of(path)
    assert found[0].pair is not None
    assert found[-1].reason is not None
    assert "breaks off" in found[-1].reason
    assert [line.number for line in found] == list(range(1, len(found) + 1))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        open_file(tmp_path / "none.jsonl")
    with pytest.raises(UnreadableFile):
        open_file(tmp_path)


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    assert lines_of(path) == []
