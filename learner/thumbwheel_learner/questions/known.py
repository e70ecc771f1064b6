"""Chats whose right judgement an operator knows (honeypots): people are asked about them like about any other.

Who contradicts them is believed less: their votes feed `voters.weigh`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from thumbwheel.errors import ConfigurationError
from thumbwheel_learner.dataset.examples import LoggedPrompt
from thumbwheel_learner.voters.votes import item_key

Known = Mapping[str, bool]
"""Completion id to whether its first answer deserves a thumb up."""


class BadKnownAnswers(ConfigurationError):
    """The file of known answers does not read; the message names the line."""


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    completion_id: str
    value: Literal["up", "down"]


_line = msgspec.json.Decoder(_Line)


def read_known(file: Path | None) -> Known:
    """One JSON object per line, `{"completion_id": …, "value": "up" | "down"}`; raises `BadKnownAnswers`."""
    if file is None:
        return {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKnownAnswers(f"THUMBWHEEL_QUESTIONS_KNOWN: {error}") from error
    known: dict[str, bool] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                read = _line.decode(line)
            except msgspec.MsgspecError as error:
                raise BadKnownAnswers(f"THUMBWHEEL_QUESTIONS_KNOWN: {file}, line {number}: {error}") from error
            known[read.completion_id] = read.value == "up"
    return known


def known_items(prompts: Sequence[LoggedPrompt], known: Known) -> dict[str, bool]:
    """By what votes are compared by (`votes.item_key`), for the chats that the snapshot still has."""
    return {item_key(prompt): known[prompt.completion_id] for prompt in prompts if prompt.completion_id in known}
