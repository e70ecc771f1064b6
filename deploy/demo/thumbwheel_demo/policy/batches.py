"""From dialogues to padded batches with a loss weight per token."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerFast

from thumbwheel_demo.corpus.prompts import Dialogue, dialogues
from thumbwheel_demo.policy.template import ASSISTANT, END, SPECIAL_TOKENS, SYSTEM, USER

DRILL_WEIGHT = 0.5
ROLE_TOKENS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


@dataclass(frozen=True)
class Example:
    """One dialogue as tokens, with the weight of each in the loss."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Batch:
    """Examples of like length, padded on the right, where padding cannot be attended to."""

    ids: torch.Tensor
    weights: torch.Tensor


def parts(dialogue: Dialogue) -> list[tuple[str, str, bool]]:
    """List role, text and whether it is the answer, in the order of the chat template."""
    system = [("system", dialogue.system, False)] if dialogue.system else []
    said = [(m["role"], m["content"], False) for m in dialogue.scenario.messages]
    return [*system, *said, ("assistant", dialogue.answer, True)]


def texts(n: int, seed: int) -> Iterator[str]:
    """Stream the plain texts that the tokenizer learns from, without slot values.

    A name that had a token of its own would be recalled; spelled in pieces like any unknown one, it is copied.
    """
    for dialogue in dialogues(n, seed):
        values = {word for value in dialogue.scenario.slots.values() for word in value.split()}
        for _, text, _ in parts(dialogue):
            yield " ".join(word for word in text.split() if word.strip(".,!?;:") not in values)


def drills(n: int, vocabulary: int, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> list[Example]:
    """Make the policy echo random tokens, the quickest way for a small one to learn to copy at all."""
    user, assistant, end = cast(list[int], cast(Any, tokenizer).convert_tokens_to_ids([USER, ASSISTANT, END]))
    examples: list[Example] = []
    for _ in range(n):
        text = [rng.randrange(len(SPECIAL_TOKENS), vocabulary) for _ in range(rng.randint(12, 24))]
        ids = [user, *text, end, assistant, *text, end]
        examples.append(Example(ids, [0.0] * (len(text) + 3) + [DRILL_WEIGHT] * (len(text) + 1)))
    return examples


def encode(chunk: Sequence[Dialogue], tokenizer: PreTrainedTokenizerFast) -> list[Example]:
    """Tokenise many dialogues at once; only the answer counts in the loss."""
    untyped = cast(Any, tokenizer)
    flat = [part for dialogue in chunk for part in parts(dialogue)]
    encoded: list[list[int]] = untyped([text for _, text, _ in flat])["input_ids"]
    end, *roles = cast(list[int], untyped.convert_tokens_to_ids([END, *ROLE_TOKENS.values()]))
    role_ids = dict(zip(ROLE_TOKENS, roles, strict=True))
    examples: list[Example] = []
    ids: list[int] = []
    weights: list[float] = []
    for (role, _, is_answer), tokens in zip(flat, encoded, strict=True):
        ids += [role_ids[role], *tokens, end]
        weights += [0.0] + [1.0 if is_answer else 0.0] * (len(tokens) + 1)
        if is_answer:
            examples.append(Example(ids, weights))
            ids, weights = [], []
    return examples


def batches(examples: list[Example], size: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """Group examples of like length, in random order, so that little is spent on padding."""
    ordered = sorted(examples, key=lambda e: (len(e.ids), rng.random()))
    groups = [ordered[i : i + size] for i in range(0, len(ordered) - size + 1, size)]
    rng.shuffle(groups)
    for group in groups:
        longest = max(len(e.ids) for e in group)
        yield Batch(
            torch.tensor([e.ids + [pad] * (longest - len(e.ids)) for e in group]),
            torch.tensor([e.weights + [0.0] * (longest - len(e.weights)) for e in group]),
        )
