"""Keyword arguments that the feedback and turn methods of both clients share, typed once."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from thumbwheel.types import Kind, Message, Metadata, Source


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


class ReadBack(TypedDict, total=False):
    """What turns and feedback can be narrowed by, all at once; the newest come first.

    A time is a datetime with an offset or RFC 3339 text; `since` is part of the answer, `until` is not.
    """

    conversation_id: str | None
    user: str | None
    policy_version: str | None
    since: datetime | str | None
    until: datetime | str | None
    page_size: int | None


class TurnQuery(ReadBack, total=False):
    """One turn, or up to 50."""

    completion_id: str | Sequence[str] | None


class FeedbackQuery(ReadBack, total=False):
    """On one completion; of one kind or several; only what was taken back, or only the rest."""

    completion_id: str | None
    kind: Kind | Sequence[Kind] | None
    retracted: bool | None


class ReviewQuery(TypedDict, total=False):
    """Open questions are not narrowed."""

    page_size: int | None


class ReviewOptions(Given, total=False):
    """Beside `value` or `correction`."""

    reasons: list[str]
    comment: str | None


def as_messages(messages: str | Sequence[Message]) -> list[Message]:
    """A bare string is one user message."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
