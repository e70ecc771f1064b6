"""Questions of the learner, and what people answer."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from thumbwheel.types.basics import Comment, Identifier, Label, Message, Metadata, Source, Text

ReviewKind = Literal["judge", "compare"]
"""judge: is this answer good, or what should it say; compare: which of two answers is better."""


class Review(Struct, frozen=True, kw_only=True):
    """A question of the learner that waits for an answer, as `GET /v1/reviews` lists it."""

    review_id: str
    kind: ReviewKind
    conversation_id: str
    completion_id: str
    choice: int
    policy_version: str
    messages: list[Message]
    answer: str
    other_answer: str | None
    """The second answer of a `compare`."""
    acquisition: str
    """By which function the learner chose it."""
    score: float
    random: bool
    """Drawn without looking at any score."""
    reward_model: str
    created_ms: int
    expires_ms: int


class ReviewPage(Struct, frozen=True, kw_only=True):
    """A page of open questions, newest first; `next` is the cursor of the following page, None on the last."""

    items: list[Review]
    next: str | None = None


class ReviewAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person says to a question: exactly one of `value` and `correction`."""

    value: Literal["up", "down", "this", "other", "tie"] | None = None
    """judge: up or down; compare: this (`answer`), other (`other_answer`) or tie."""
    correction: Text | None = None
    """judge: what the answer should have been."""
    reasons: Annotated[list[Label], Meta(max_length=10)] = []
    """Of a thumb, as is `comment`."""
    comment: Comment | None = None
    user: Identifier | None = None
    source: Source = "human"
    metadata: Metadata = {}
