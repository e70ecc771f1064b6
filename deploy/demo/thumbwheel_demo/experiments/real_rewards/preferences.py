"""The two real data sets as questions with their answers and which of two answers was preferred."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("../shared/data")
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True)
class Question:
    """A prompt and its answers; `cluster` is what folds and bootstrap keep together."""

    cluster: str
    prompt: str
    """Ends with the mark of the assistant's turn."""
    answers: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    """(preferred, other), positions in `answers`."""


def judged_responses(folder: Path = FOLDER) -> list[Question]:
    """Each instruction with some 13 responses; one that beat the reference is preferred to each that did not."""

    def question(line: dict[str, Any]) -> Question:
        responses = line["responses"]
        better = [i for i, r in enumerate(responses) if r["beats_reference"]]
        worse = [i for i, r in enumerate(responses) if not r["beats_reference"]]
        text = line["instruction"]
        return Question(
            cluster=text,
            prompt=f"{HUMAN} {text}{ASSISTANT}",
            answers=tuple(str(r["response"]) for r in responses),
            pairs=tuple((b, w) for b in better for w in worse),
        )

    return [question(line) for line in _lines(folder / "judged_responses.jsonl.gz")]


def human_pairs(folder: Path = FOLDER) -> list[Question]:
    """Each conversation with the two answers that a person compared; conversations that open alike are one cluster."""

    def question(line: dict[str, str]) -> Question:
        shared = _shared(line["chosen"], line["rejected"])
        cut = shared.rindex(ASSISTANT) + len(ASSISTANT)
        opening = shared.split(ASSISTANT)[0]
        return Question(
            opening, shared[:cut], (line["chosen"][cut:].strip(), line["rejected"][cut:].strip()), ((0, 1),)
        )

    return [question(line) for line in _lines(folder / "human_pairs.jsonl.gz")]


DATA: dict[str, Callable[[Path], list[Question]]] = {
    "human_pairs": human_pairs,
    "judged_responses": judged_responses,
}


@dataclass(frozen=True)
class Preferences:
    """Flat: answers one after another, pairs as numbers of answers."""

    prompts: list[str]
    """[A] of every answer."""
    answers: list[str]
    """[A]"""
    pairs: NDArray[np.intp]
    """[P, 2] preferred, other."""
    clusters: list[str]
    """[P]"""


def flat(questions: Sequence[Question]) -> Preferences:
    """All questions in order."""
    prompts: list[str] = []
    answers: list[str] = []
    pairs: list[tuple[int, int]] = []
    clusters: list[str] = []
    for q in questions:
        pairs += [(len(answers) + better, len(answers) + worse) for better, worse in q.pairs]
        clusters += [q.cluster] * len(q.pairs)
        prompts += [q.prompt] * len(q.answers)
        answers += q.answers
    return Preferences(prompts, answers, np.array(pairs, dtype=np.intp).reshape(-1, 2), clusters)


def _shared(one: str, other: str) -> str:
    """Where both begin alike."""
    differ = (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differ, min(len(one), len(other)))]


def _lines(file: Path) -> list[Any]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
