"""What the learner would like to be asked of people."""

from typing import Literal

from msgspec import Struct

from thumbwheel.types import ReviewKind


class ReviewAsked(Struct, frozen=True, kw_only=True, tag="review_asked", tag_field="type"):
    """The learner has a question about an answer (topic reviews, key review id); asked again it is the same question.

    `box` opens to the JSON of a `thumbwheel.sealed.ReviewTexts` under the name `review/<review_id>`, and is that JSON
    where the turn came unsealed. It has the keys of the turn, so that the question goes with the person.
    """

    review_id: str
    kind: ReviewKind
    conversation_id: str
    completion_id: str
    choice: int = 0
    acquisition: str
    """By which function it was chosen."""
    score: float
    """What its answer is worth by that function, beside no other question."""
    random: bool
    """Drawn without looking at any score."""
    reward_model: str
    asked_ms: int
    expires_ms: int
    box: bytes
    schema_version: int = 1


class ReviewWithdrawn(Struct, frozen=True, kw_only=True, tag="review_withdrawn", tag_field="type"):
    """A question is open no longer (topic reviews, key review id): it takes the place of the question itself.

    The service says `answered`, the learner the rest: too late, other questions are worth more now, or the person it
    concerns was erased.
    """

    review_id: str
    reason: Literal["answered", "expired", "reranked", "erased"]
    created_ms: int
    schema_version: int = 1
