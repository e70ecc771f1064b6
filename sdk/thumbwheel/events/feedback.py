"""What somebody said of an answer."""

from msgspec import UNSET, Struct, UnsetType

from thumbwheel.types import Feedback, Kind, Message, TurnStatus


class ReviewMark(Struct, frozen=True, kw_only=True):
    """Which of the learner's questions a piece of feedback answers."""

    review_id: str
    random: bool
    """Of the random slice: only what people say of these is an unbiased picture."""


class FeedbackRecorded(Struct, frozen=True, kw_only=True, tag="feedback_recorded", tag_field="type"):
    """One revision of one piece of feedback, with the prompt and answers it speaks of.

    Topic feedback, key feedback id. The reader keeps the highest revision per id; `retracted` is one more revision.
    """

    feedback_id: str
    revision: int
    retracted: bool
    feedback: Feedback
    created_ms: int
    completion_id: str | None = None
    conversation_id: str | None = None
    policy_version: str | None = None
    turn_status: TurnStatus | None = None
    messages: list[Message] = []
    answer: str | None = None
    other_answer: str | None = None
    turn_created_ms: int | None = None
    review: ReviewMark | UnsetType = UNSET
    """Somebody was asked; without it people said it of themselves."""
    schema_version: int = 1


class FeedbackSealed(Struct, frozen=True, kw_only=True, tag="feedback_sealed", tag_field="type"):
    """Feedback as it travels (topic feedback, key feedback id): what it needs to be filed, and the rest in a box.

    `box` opens to the JSON of a `FeedbackRecorded` under the name `feedback/<feedback_id>/<revision>`.
    """

    feedback_id: str
    revision: int
    retracted: bool
    kind: Kind
    created_ms: int
    completion_id: str | None = None
    conversation_id: str | None = None
    policy_version: str | None = None
    turn_status: TurnStatus | None = None
    box: bytes
    schema_version: int = 1
