"""From dialogues to padded batches with a loss weight per token."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerFast

from thumbwheel_demo.corpus.prompts import Dialogue, dialogues
from thumbwheel_demo.policy.template import ASSISTANT, END, SYSTEM, USER

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
    """Stream the plain texts that the tokenizer learns from."""
    for dialogue in dialogues(n, seed):
        for _, text, _ in parts(dialogue):
            yield text


def encode(chunk: Sequence[Dialogue], tokenizer: PreTrainedTokenizerFast, context_weight: float) -> list[Example]:
    """Tokenise many dialogues at once; the answer counts fully, what precedes it a little."""
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
        weights += [0.0] + [1.0 if is_answer else context_weight] * (len(tokens) + 1)
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
