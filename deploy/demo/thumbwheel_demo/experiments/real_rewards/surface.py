"""What can be counted in an answer without reading it."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
ITEM, NUMBERED = re.compile(r"^\s*[-*•] ", re.M), re.compile(r"^\s*\d+[.)] ", re.M)
MARKDOWN, CODE = re.compile(r"\*\*|^#+ |^\|", re.M), re.compile(r"```|^ {4}\S", re.M)
REFUSAL = re.compile(r"\b(sorry|apologi[sz]e|cannot|can[’']t|unable|not able|as an ai|language model)\b", re.I)
NAMES = (
    "characters",
    "words",
    "lines",
    "items",
    "numbered items",
    "markdown",
    "code",
    "digits",
    "capitals",
    "questions",
    "exclamations",
    "refusals",
    "first person",
    "second person",
    "length of words",
    "length of sentences",
    "different words",
    "repeated trigrams",
    "ends a sentence",
    "words of the prompt",
    "length beside the prompt",
)


def surface(prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
    """[N, len(NAMES)] of every answer to its prompt; counts as log(1 + n)."""
    return np.array([_counts(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])


def _counts(prompt: str, answer: str) -> list[float]:
    words = [w.lower() for w in WORD.findall(answer)]
    asked = {w.lower() for w in WORD.findall(prompt) if len(w) > 3}
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    sentences = max(1, len(re.findall(r"[.!?](?:\s|$)", answer)))
    length, some = len(answer), max(1, len(words))
    counted = (
        length,
        len(words),
        answer.count("\n"),
        len(ITEM.findall(answer)),
        len(NUMBERED.findall(answer)),
        len(MARKDOWN.findall(answer)),
        len(CODE.findall(answer)),
        sum(c.isdigit() for c in answer),
        sum(c.isupper() for c in answer),
        answer.count("?"),
        answer.count("!"),
        len(REFUSAL.findall(answer)),
        sum(w in ("i", "my", "me") for w in words),
        sum(w in ("you", "your") for w in words),
    )
    shares = (
        sum(map(len, words)) / some,
        np.log1p(some / sentences),
        len(set(words)) / some,
        1 - len(set(trigrams)) / max(1, len(trigrams)),
        float(answer.rstrip()[-1:] in (".", "!", "?", ")", "`", '"')),
        len(asked & set(words)) / max(1, len(asked)),
        np.log1p(length) - np.log1p(len(prompt)),
    )
    return [*(float(np.log1p(n)) for n in counted), *map(float, shares)]
