"""Feedback of eight kinds as people give it, and as it is stored."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from thumbwheel.types.basics import Choice, Comment, Identifier, Label, Message, Metadata, Source, Text
from thumbwheel.types.problem import Problem


class _Given(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", omit_defaults=True):
    """What every kind of feedback has in common."""

    user: Identifier | None = None
    source: Source = "human"
    metadata: Metadata = {}


class _OnAnswer(_Given, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", omit_defaults=True):
    """Feedback on one choice of one completion."""

    completion_id: Identifier
    choice: Choice = 0


class Thumb(_OnAnswer, frozen=True, kw_only=True, tag="thumb"):
    """A thumb, with the reasons if the person likes to say."""

    value: Literal["up", "down"]
    reasons: Annotated[list[Label], Meta(max_length=10)] = []
    comment: Comment | None = None


class Rating(_OnAnswer, frozen=True, kw_only=True, tag="rating"):
    """One to five stars."""

    value: Annotated[int, Meta(ge=1, le=5)]
    comment: Comment | None = None


class Flag(_OnAnswer, frozen=True, kw_only=True, tag="flag"):
    """Something is wrong with this answer beyond taste."""

    value: Literal["hallucination", "unsafe", "biased", "off_brand", "other"]
    comment: Comment | None = None


class Comparison(_OnAnswer, frozen=True, kw_only=True, tag="comparison"):
    """This answer against another completion, or against a text."""

    value: Literal["this", "other", "tie"]
    other_completion_id: Identifier | None = None
    other_choice: Choice = 0
    other_text: Text | None = None


class Correction(_OnAnswer, frozen=True, kw_only=True, tag="correction"):
    """What the answer should have been."""

    text: Text


class Critique(_OnAnswer, frozen=True, kw_only=True, tag="critique"):
    """What is wrong with the answer, in words; critiques append, each under its own feedback id."""

    text: Text
    feedback_id: Identifier | None = None


class Demonstration(_Given, frozen=True, kw_only=True, tag="demonstration"):
    """A conversation and the answer it deserves, without any completion of ours."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=256)]
    text: Text
    feedback_id: Identifier | None = None


class Outcome(_Given, frozen=True, kw_only=True, tag="outcome"):
    """What became of the chat (solved, refunded, minutes to resolution): of a completion or a conversation."""

    name: Label
    value: bool | float
    completion_id: Identifier | None = None
    choice: Choice = 0
    conversation_id: Identifier | None = None


Feedback = Thumb | Rating | Flag | Comparison | Correction | Critique | Demonstration | Outcome
"""Everything `POST /v1/feedback` takes: one union, discriminated by `kind`."""
Kind = Literal["thumb", "rating", "flag", "comparison", "correction", "critique", "demonstration", "outcome"]


class FeedbackRecord(Struct, frozen=True, kw_only=True):
    """A stored piece of feedback as the API returns it."""

    feedback_id: str
    revision: int
    retracted: bool
    kind: Kind
    created_ms: int
    updated_ms: int
    feedback: Feedback
    completion_id: str | None = None
    conversation_id: str | None = None
    policy_version: str | None = None


class FeedbackHistory(Struct, frozen=True, kw_only=True):
    """Every revision of one piece of feedback, oldest first."""

    feedback_id: str
    revisions: list[FeedbackRecord]


class FeedbackBatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several pieces at once; items are decoded one by one, so a bad one fails alone."""

    items: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=256)]


class FeedbackBatchItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item of a batch: exactly one of `record` and `problem`."""

    index: int
    status: int
    record: FeedbackRecord | None = None
    problem: Problem | None = None


class FeedbackBatchResult(Struct, frozen=True, kw_only=True):
    """One row per item, in the order sent."""

    items: list[FeedbackBatchItem]


class FeedbackPage(Struct, frozen=True, kw_only=True):
    """A page of feedback, newest first; `next` is the cursor of the following page, None on the last."""

    items: list[FeedbackRecord]
    next: str | None = None
