"""Short makers of events for the learner's tests."""

from typing import Any

from thumbwheel.events import Envelope, FeedbackRecorded, TurnCompleted, wrap
from thumbwheel.types import Feedback, Thumb, TurnChoice, TurnStatus


def turn(
    number: int,
    *,
    status: TurnStatus = "complete",
    conversation: str | None = None,
    answer: str | None = None,
    **more: Any,
) -> TurnCompleted:
    """Turn `number`: one question, one answer."""
    return TurnCompleted(
        completion_id=f"c-{number}",
        conversation_id=conversation or f"conv-{number}",
        policy_version=more.pop("policy_version", "base"),
        status=status,
        origin=more.pop("origin", "chat"),
        created_ms=1_000 + number,
        finished_ms=1_001 + number,
        messages=[{"role": "user", "content": f"question {number}"}],
        choices=[TurnChoice(index=0, text=answer or f"answer {number}", finish_reason="stop")],
        model="m",
        **more,
    )


def feedback(number: int, given: Feedback | None = None, **more: Any) -> FeedbackRecorded:
    """Feedback on turn `number`; a thumb up unless `given`."""
    return FeedbackRecorded(
        feedback_id=more.pop("feedback_id", f"fb-{number}"),
        revision=more.pop("revision", 1),
        retracted=more.pop("retracted", False),
        feedback=given or Thumb(completion_id=f"c-{number}", value="up", user=f"u-{number % 5}"),
        created_ms=more.pop("created_ms", 2_000 + number),
        completion_id=f"c-{number}",
        conversation_id=f"conv-{number}",
        policy_version="base",
        turn_status=more.pop("turn_status", "complete"),
        messages=more.pop("messages", [{"role": "user", "content": f"question {number}"}]),
        answer=more.pop("answer", f"answer {number}"),
        **more,
    )


def enveloped(event: Any, event_id: str) -> Envelope:
    """An envelope with a known id."""
    return wrap(event, event_id=event_id)
