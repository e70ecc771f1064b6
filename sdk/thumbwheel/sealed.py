"""Turns, feedback and questions in their boxes, as they travel on the bus: how they are named, sealed and opened."""

from typing import TypeVar

import msgspec
from msgspec import Struct

from thumbwheel import box
from thumbwheel.box import BoxDamaged, Secrets
from thumbwheel.events import FeedbackRecorded, FeedbackSealed, TurnCompleted, TurnSealed

T = TypeVar("T")
_turn = msgspec.json.Decoder(TurnCompleted)
_feedback = msgspec.json.Decoder(FeedbackRecorded)
_encoder = msgspec.json.Encoder()


class ReviewTexts(Struct, frozen=True, kw_only=True):
    """What a question says that the turn does not."""

    other_answer: str | None = None
    """The second answer of a `compare`."""


_review = msgspec.json.Decoder(ReviewTexts)


def turn_name(completion_id: str) -> str:
    """What the box of a turn is called."""
    return f"turn/{completion_id}"


def seal_turn(turn: TurnCompleted, keys: Secrets) -> TurnSealed:
    """The turn as it travels."""
    return TurnSealed(
        completion_id=turn.completion_id,
        conversation_id=turn.conversation_id,
        policy_version=turn.policy_version,
        status=turn.status,
        origin=turn.origin,
        created_ms=turn.created_ms,
        finished_ms=turn.finished_ms,
        box=box.seal(_encoder.encode(turn), keys, turn_name(turn.completion_id)),
    )


def open_turn(event: TurnSealed, keys: Secrets) -> TurnCompleted:
    """The turn; raises `Erased`, `BoxDamaged`."""
    return _decode(_turn, box.unseal(event.box, keys, turn_name(event.completion_id)))


def seal_feedback(event: FeedbackRecorded, keys: Secrets) -> FeedbackSealed:
    """The feedback as it travels."""
    return FeedbackSealed(
        feedback_id=event.feedback_id,
        revision=event.revision,
        retracted=event.retracted,
        kind=event.feedback.__struct_config__.tag,  # pyright: ignore[reportArgumentType] - the tags are the kinds
        created_ms=event.created_ms,
        completion_id=event.completion_id,
        conversation_id=event.conversation_id,
        policy_version=event.policy_version,
        turn_status=event.turn_status,
        box=box.seal(_encoder.encode(event), keys, _feedback_name(event.feedback_id, event.revision)),
    )


def open_feedback(event: FeedbackSealed, keys: Secrets) -> FeedbackRecorded:
    """The feedback; raises `Erased`, `BoxDamaged`."""
    return _decode(_feedback, box.unseal(event.box, keys, _feedback_name(event.feedback_id, event.revision)))


def review_name(review_id: str) -> str:
    """What the box of a question is called."""
    return f"review/{review_id}"


def seal_review(review_id: str, texts: ReviewTexts, keys: Secrets) -> bytes:
    """The question's texts as they travel; plain JSON without keys, as the turn they belong to."""
    content = _encoder.encode(texts)
    return box.seal(content, keys, review_name(review_id)) if keys else content


def open_review(review_id: str, sealed: bytes, keys: Secrets) -> ReviewTexts:
    """The question's texts; raises `Erased`, `BoxDamaged`."""
    content = box.unseal(sealed, keys, review_name(review_id)) if box.is_box(sealed) else sealed
    return read_review(content)


def read_review(content: bytes) -> ReviewTexts:
    """What an opened box holds; raises `BoxDamaged`."""
    return _decode(_review, content)


def _feedback_name(feedback_id: str, revision: int) -> str:
    return f"feedback/{feedback_id}/{revision}"


def _decode(decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise BoxDamaged(f"a box opens and does not hold what it should: {error}") from error
