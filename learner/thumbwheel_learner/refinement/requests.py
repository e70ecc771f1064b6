"""What the refiner is asked: conversation, answer and critique, put as one more message of the person."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from thumbwheel_learner.dataset.examples import Critique, Messages, Pair, Snapshot
from thumbwheel_learner.reward.labels import prompt_key

ASK = "Write a better answer."


class Request(Struct, frozen=True, kw_only=True):
    """An answer that is to be written anew."""

    messages: Messages
    answer: str
    critique: str
    """Everything that people found wrong with it; empty where nobody said."""
    user: str
    """Who said so, or corrected it."""
    conversation_id: str
    created_ms: int

    def as_messages(self) -> Messages:
        """The conversation as the refiner reads it."""
        wish = f"{self.critique}\n{ASK}" if self.critique else ASK
        return [
            *self.messages,
            {"role": "assistant", "content": self.answer},
            {"role": "user", "content": wish},
        ]


class Taught(NamedTuple):
    """A request with the answer that a person gave to it."""

    request: Request
    better: str


def requests_of(snapshot: Snapshot) -> tuple[list[Taught], list[Request]]:
    """What people have rewritten, whether or not they said why, and what they only criticised; oldest first.

    Of several corrections of one answer every one counts; of several critiques of it all are read together.
    """
    said: dict[tuple[str, str], list[Critique]] = defaultdict(list)
    for critique in sorted(snapshot.critiques, key=lambda c: c.created_ms):
        said[prompt_key(critique.messages), critique.answer].append(critique)
    taught: list[Taught] = []
    settled: set[tuple[str, str]] = set()
    for pair in sorted(snapshot.pairs, key=lambda p: p.created_ms):
        if pair.origin == "correction":
            key = prompt_key(pair.messages), pair.rejected
            settled.add(key)
            taught.append(Taught(_of_correction(pair, said.get(key, [])), pair.chosen))
    return taught, [_of_critiques(words) for key, words in said.items() if key not in settled]


def _of_correction(pair: Pair, critiques: Sequence[Critique]) -> Request:
    return Request(
        messages=pair.messages,
        answer=pair.rejected,
        critique=_together(critiques),
        user=pair.user,
        conversation_id=pair.conversation_id,
        created_ms=pair.created_ms,
    )


def _of_critiques(critiques: Sequence[Critique]) -> Request:
    first = critiques[0]
    return Request(
        messages=first.messages,
        answer=first.answer,
        critique=_together(critiques),
        user=first.user,
        conversation_id=first.conversation_id,
        created_ms=first.created_ms,
    )


def _together(critiques: Sequence[Critique]) -> str:
    return "\n".join(dict.fromkeys(c.text.strip() for c in critiques))
