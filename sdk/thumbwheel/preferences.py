"""Preference files: JSONL (plain or gzip) with `chosen` and `rejected`, in the two forms people publish them.

Transcripts: both texts are whole dialogues (`\\n\\nHuman: … \\n\\nAssistant: …`) that agree up to the last answer.
Prompted: `prompt` (a string, a transcript or a list of messages) with `chosen` and `rejected` as texts or messages; the
prompt may be missing when both are lists of messages that agree up to the last.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from thumbwheel.errors import ThumbwheelError
from thumbwheel.types import Message

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class UnreadableFile(ThumbwheelError):
    """The file cannot be opened."""


class Malformed(ThumbwheelError):
    """A line that is no preference pair; the message says why."""


class Pair(NamedTuple):
    """`chosen` was preferred to `rejected` after `messages`."""

    messages: list[Message]
    chosen: str
    rejected: str
    user: str | None = None

    @property
    def digest(self) -> str:
        """32 hex digits that stand for the content: the same pair has the same one in every file and run."""
        content = msgspec.json.encode([self.messages, self.chosen, self.rejected], order="sorted")
        return hashlib.sha256(content).hexdigest()[:32]

    @property
    def prompt_digest(self) -> str:
        """32 hex digits that stand for the prompt."""
        return hashlib.sha256(msgspec.json.encode(self.messages, order="sorted")).hexdigest()[:32]


class Line(NamedTuple):
    """A line of the file: a pair, or why it is none."""

    number: int
    pair: Pair | None
    reason: str | None


def read_pairs(file: BufferedReader) -> Iterator[Line]:
    """Every line but empty ones, from 1 on; gzip is recognised by its first bytes. A bad line never stops the rest."""
    lines: Iterator[bytes] = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
    number = 0
    while True:
        number += 1
        try:
            line = next(lines, None)
        except (EOFError, OSError, zlib.error) as error:
            yield Line(number, None, f"the file breaks off here: {error}")
            return
        if line is None:
            return
        if not line.strip():
            continue
        try:
            yield Line(number, parse_line(line), None)
        except Malformed as error:
            yield Line(number, None, str(error))


def open_file(path: Path) -> BufferedReader:
    """Open for `read_pairs`; raises `UnreadableFile`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror}") from error


def parse_line(line: bytes) -> Pair:
    """One JSON object; raises `Malformed`."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Malformed(f"not a JSON object but {type(row).__name__}")
    return parse_row(cast("dict[str, Any]", row))


def parse_row(row: dict[str, Any]) -> Pair:
    """A decoded row in either form; raises `Malformed`."""
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise Malformed(f"no {name!r}")
    prompt = row.get("prompt")
    messages = None if prompt is None else _prompt(prompt)
    before_chosen, chosen = _answer(row["chosen"], "chosen", messages)
    before_rejected, rejected = _answer(row["rejected"], "rejected", messages)
    if before_chosen != before_rejected:
        raise Malformed("chosen and rejected differ before their last answer")
    if chosen == rejected:
        raise Malformed("chosen and rejected are the same answer")
    if not before_chosen:
        raise Malformed("the prompt is empty")
    user = row.get("user")
    if user is not None and not isinstance(user, str):
        raise Malformed("user is not a string")
    return Pair(before_chosen, chosen, rejected, user or None)


def _prompt(prompt: Any) -> list[Message]:
    if isinstance(prompt, str):
        if prompt.startswith("\n\nHuman:"):
            messages = _transcript(prompt, "prompt")
            if messages[-1] == {"role": "assistant", "content": ""}:
                messages.pop()
            return messages
        if not prompt.strip():
            raise Malformed("the prompt is empty")
        return [{"role": "user", "content": prompt}]
    return _messages(prompt, "prompt")


def _answer(value: Any, name: str, prompt: list[Message] | None) -> tuple[list[Message], str]:
    """What was said before, and the answer."""
    if isinstance(value, str):
        if prompt is not None:
            before, answer = prompt, value
        elif value.startswith("\n\nHuman:"):
            before, answer = _split(_transcript(value, name), name)
        else:
            raise Malformed(f"{name} is neither a transcript (\\n\\nHuman: …) nor is there a prompt")
    else:
        said, answer = _split(_messages(value, name), name)
        before = said if prompt is None else prompt
        if prompt is not None and said not in ([], prompt):
            raise Malformed(f"{name} begins with other messages than the prompt")
    if not answer.strip():
        raise Malformed(f"the {name} answer is empty")
    return before, answer


def _split(messages: list[Message], name: str) -> tuple[list[Message], str]:
    last = messages[-1]
    if last["role"] != "assistant" or not isinstance(last["content"], str):
        raise Malformed(f"{name} does not end with an answer of the assistant")
    return messages[:-1], last["content"]


def _transcript(text: str, name: str) -> list[Message]:
    """A dialogue in one text; whatever follows a marker up to the next one is that speaker's turn."""
    pieces = _TURN.split(text)
    if pieces[0].strip():
        raise Malformed(f"{name} does not begin with \\n\\nHuman:")
    return [
        {"role": _ROLES[who], "content": said.strip()} for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def _messages(value: Any, name: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise Malformed(f"{name} is neither a text nor a list of messages")
    found = cast("list[Any]", value)
    for message in found:
        if not isinstance(message, dict):
            raise Malformed(f"{name} holds something that is not a message")
        said = cast("dict[str, Any]", message)
        if said.get("role") not in _KNOWN_ROLES or not isinstance(said.get("content"), str):
            raise Malformed(f"{name} holds a message without a known role or without a text")
    return cast("list[Message]", found)
