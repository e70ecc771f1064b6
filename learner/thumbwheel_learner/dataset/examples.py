"""What a frozen snapshot holds: plain examples, with who, when and where, and nothing of the bus or the database.

Defaults are left out of what is written, so that a field added later leaves the digests of old examples as they are.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

from msgspec import Struct

Messages = list[dict[str, Any]]


class _Given(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every word of feedback carries: who said it, when, after which messages, and how it came to be."""

    messages: Messages
    user: str
    conversation_id: str
    created_ms: int
    event_id: str
    source: str = "human"
    review_id: str | None = None
    """The question that it answers, where somebody was asked."""
    random_slice: bool = False
    """Asked about without looking at any score: with others like it an unbiased picture of the chats."""


class Pair(_Given, frozen=True, kw_only=True, omit_defaults=True):
    """`chosen` was preferred to `rejected` after `messages`."""

    chosen: str
    rejected: str
    origin: Literal["comparison", "correction"]
    policy_version: str | None = None
    tie: bool = False


class Judged(_Given, frozen=True, kw_only=True, omit_defaults=True):
    """One answer with an absolute word on it: thumb (0/1), rating (1-5), flag (0)."""

    answer: str
    kind: Literal["thumb", "rating", "flag"]
    value: float
    policy_version: str | None = None


class Demo(_Given, frozen=True, kw_only=True, omit_defaults=True):
    """What should be said after `messages`: a correction or a demonstration."""

    text: str
    origin: Literal["correction", "demonstration"]


class Critique(_Given, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody found wrong with `answer`, in words."""

    answer: str
    text: str


class Outcome(_Given, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the matter after `answer`, by a name of the app's own."""

    answer: str
    name: str
    value: bool | float


class LoggedPrompt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prompt people really sent: what PPO practises on. No label attached."""

    messages: Messages
    conversation_id: str
    completion_id: str
    created_ms: int
    answer: str
    policy_version: str
    event_id: str
    user: str | None = None
    """The end user of the chat, where the app names one."""
    intent: str | None = None
    """What the chat is about, where the app says so (`metadata.intent`, else `metadata.topic`, of the chat)."""
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    other_answers: list[str] = []
    """Texts of the other choices, where several were asked for."""
    redacted: bool = False
    """Not what was sent: something was taken out before it was stored."""
    temperature: float | None = None
    """At which it was answered."""


class Snapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen, hashed dataset: the only thing a training run reads."""

    hash: str
    created_ms: int
    pairs: list[Pair]
    judged: list[Judged]
    demos: list[Demo]
    prompts: list[LoggedPrompt]
    counts: dict[str, int]
    critiques: list[Critique] = []
    outcomes: list[Outcome] = []


COOLEST, HOTTEST = 0.3, 1.5
"""Of comparisons: without chance several answers to a prompt would be one, and further up there is no app."""


def usual_temperature(prompts: Sequence[LoggedPrompt]) -> float:
    """The median temperature of the chats, within bounds; 1 where none is known."""
    known = [p.temperature for p in prompts if p.temperature is not None]
    return min(max(median(known), COOLEST), HOTTEST) if known else 1.0


def as_sent(prompts: Sequence[LoggedPrompt]) -> list[LoggedPrompt]:
    """Prompts to answer anew: nobody sends placeholders, so PPO and the gate leave redacted ones out."""
    return [prompt for prompt in prompts if not prompt.redacted]
