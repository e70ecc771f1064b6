"""Turns and feedback in their boxes, as they travel on the bus: how they are named, sealed and opened."""

from typing import TypeVar

import msgspec

from thumbwheel import box
from thumbwheel.box import BoxDamaged, Secrets
from thumbwheel.events import FeedbackRecorded, FeedbackSealed, TurnCompleted, TurnSealed

T = TypeVar("T")
_turn = msgspec.json.Decoder(TurnCompleted)
_feedback = msgspec.json.Decoder(FeedbackRecorded)
_encoder = msgspec.json.Encoder()


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


def _feedback_name(feedback_id: str, revision: int) -> str:
    return f"feedback/{feedback_id}/{revision}"


def _decode(decoder: "msgspec.json.Decoder[T]", content: bytes) -> T:
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise BoxDamaged(f"a box opens and does not hold what it should: {error}") from error
