"""What travels on the bus, and where it goes."""

from typing import Any

import msgspec
from msgspec import Struct

from thumbwheel.events.dead_letters import DeadLettered, DeadLetterSettled, letter_id
from thumbwheel.events.erasures import ErasureApplied, PersonErased
from thumbwheel.events.feedback import FeedbackRecorded, FeedbackSealed
from thumbwheel.events.identity import new_id, now_ms
from thumbwheel.events.learner import LearnerCommand, LearnerReported
from thumbwheel.events.policies import PolicyPublished, PolicyRejected, PolicyRouted
from thumbwheel.events.reviews import ReviewAsked, ReviewWithdrawn
from thumbwheel.events.topics import (
    CONTROL,
    DEAD_LETTERS,
    DEFAULT_TENANT,
    ERASURES,
    FEEDBACK,
    LEARNER,
    POLICIES,
    REVIEWS,
    TURNS,
    Topic,
)
from thumbwheel.events.turns import TurnCompleted, TurnSealed

Event = (
    TurnCompleted
    | FeedbackRecorded
    | TurnSealed
    | FeedbackSealed
    | PersonErased
    | ErasureApplied
    | ReviewAsked
    | ReviewWithdrawn
    | PolicyPublished
    | PolicyRouted
    | PolicyRejected
    | LearnerCommand
    | LearnerReported
    | DeadLettered
    | DeadLetterSettled
)


class Envelope(Struct, frozen=True, kw_only=True):
    """What travels on the bus: identity and time around one event."""

    event_id: str
    tenant: str
    occurred_ms: int
    event: Event


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def wrap(event: Event, *, tenant: str = DEFAULT_TENANT, event_id: str | None = None) -> Envelope:
    """Put an event in an envelope with a fresh id."""
    return Envelope(event_id=event_id or new_id("ev"), tenant=tenant, occurred_ms=now_ms(), event=event)


def encode(envelope: Envelope) -> bytes:
    """Bytes for the bus."""
    return _encoder.encode(envelope)


def decode(value: bytes) -> Envelope:
    """Parse bytes from the bus; raises `msgspec.ValidationError` (or `DecodeError`) on what is not an event."""
    try:
        return _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"JSON is malformed: {error}") from error


def topic_and_key(event: Event) -> tuple[Topic, str]:
    """Where an event goes and by what it is ordered (and compacted)."""
    match event:
        case TurnCompleted() | TurnSealed():
            return TURNS, event.conversation_id
        case FeedbackRecorded() | FeedbackSealed():
            return FEEDBACK, event.feedback_id
        case PersonErased() | ErasureApplied():
            prefix = "applied/" if isinstance(event, ErasureApplied) else ""
            return ERASURES, f"{prefix}{event.erasure_id}"
        case ReviewAsked() | ReviewWithdrawn():
            return REVIEWS, event.review_id
        case PolicyPublished():
            return POLICIES, f"published/{event.version}"
        case PolicyRejected():
            return POLICIES, f"rejected/{event.version}"
        case PolicyRouted():
            return POLICIES, "route"
        case LearnerCommand():
            return CONTROL, "learner"
        case LearnerReported():
            return LEARNER, "status"
        case DeadLettered():
            return DEAD_LETTERS, letter_id(event)
        case DeadLetterSettled():
            return DEAD_LETTERS, f"settled/{letter_id(event)}"


def to_builtins(value: Any) -> Any:
    """Plain JSON-able objects of any wire struct."""
    return msgspec.to_builtins(value)
