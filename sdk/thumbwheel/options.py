"""Keyword arguments that the feedback and turn methods of both clients share, typed once."""

from collections.abc import Sequence
from typing import TypedDict

from thumbwheel.types import Message, Metadata, Source


class Given(TypedDict, total=False):
    """Who gave the feedback, and how."""

    user: str | None
    source: Source
    metadata: Metadata


class OnAnswer(Given, total=False):
    """Which of the `n` answers is meant (default 0)."""

    choice: int


class Commented(OnAnswer, total=False):
    """With free text beside the value."""

    comment: str | None


class ThumbOptions(Commented, total=False):
    """Why: up to ten labels, e.g. incorrect, incomplete, style, unsafe."""

    reasons: list[str]


class ComparisonOptions(OnAnswer, total=False):
    """The other side: another completion of ours, or a text."""

    other_completion_id: str | None
    other_choice: int
    other_text: str | None


class CritiqueOptions(OnAnswer, total=False):
    """A client-chosen id, so that the same critique can be sent again without doubling."""

    feedback_id: str | None


class DemonstrationOptions(Given, total=False):
    """A client-chosen id, so that the same demonstration can be sent again without doubling."""

    feedback_id: str | None


class OutcomeOptions(OnAnswer, total=False):
    """Of a completion or of a whole conversation."""

    completion_id: str | None
    conversation_id: str | None


class TurnOptions(TypedDict, total=False):
    """What is known about an answer given elsewhere."""

    completion_id: str | None
    conversation_id: str | None
    user: str | None
    model: str | None
    created_ms: int | None
    metadata: Metadata


def as_messages(messages: str | Sequence[Message]) -> list[Message]:
    """A bare string is one user message."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
