"""What a piece of feedback speaks of: the checks that need the database, and the natural key it is unique by."""

import hashlib
from typing import Any, NamedTuple

import msgspec

from thumbwheel.events import new_id
from thumbwheel.types import Comparison, Correction, Critique, Demonstration, Feedback, Flag, Outcome, Rating, Thumb
from thumbwheel_service.db.keyring import Subject, subject_of
from thumbwheel_service.db.session import Session
from thumbwheel_service.errors import BadInput, Missing
from thumbwheel_service.turns import repository as turns
from thumbwheel_service.turns.messages import check_messages
from thumbwheel_service.turns.repository import Completion

Simple = Thumb | Rating | Flag | Correction
"""What speaks of one answer and is unique by answer, person and kind: nearly all that comes."""
OnAnswer = Thumb | Rating | Flag | Comparison | Correction | Critique
_encoder = msgspec.json.Encoder()


class BadChoice(BadInput):
    """The completion has no such choice."""

    code = "choice_out_of_range"


class BadTarget(BadInput):
    """The feedback names none or too many of what it may speak of."""

    code = "invalid_target"


class UnknownConversation(Missing):
    """No recorded turn belongs to this conversation."""

    code = "unknown_conversation"


class Target(NamedTuple):
    """The turns a piece of feedback speaks of, as they are now."""

    feedback_id: str
    """Proposed id, if the natural key is new."""
    natural_key: str
    completion: Completion | None = None
    choice: int = 0
    other: Completion | None = None
    other_choice: int = 0
    conversation_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer it speaks of is still being generated, so that its event has to wait."""
        return any(row is not None and row.status == "open" for row in (self.completion, self.other))


def concerned(target: Target, user: str | None) -> list[Subject]:
    """Everybody whose words are in a piece of feedback and its event: who was answered, and who says it."""
    turns_of = [row for row in (target.completion, target.other) if row is not None]
    people = [subject_of(row.user, row.conversation_id) for row in turns_of]
    if user is not None:
        people.append(Subject("user", user))
    if not people:
        conversation = target.conversation_id
        people.append(
            Subject("feedback", target.feedback_id) if conversation is None else subject_of(None, conversation)
        )
    return people


def resolve(session: Session, tenant: str, feedback: Feedback) -> Target:
    """Find what `feedback` speaks of; raises `UnknownCompletion`, `NotStored`, `BadChoice`, `BadTarget` and so on."""
    match feedback:
        case Demonstration():
            check_messages(feedback.messages)
            identifier = feedback.feedback_id or new_id("fb")
            return Target(identifier, _key("own", identifier))
        case Outcome():
            return _outcome(session, tenant, feedback)
        case Comparison():
            return _comparison(session, tenant, feedback)
        case Critique():
            identifier = feedback.feedback_id or new_id("fb")
            row = _answer(session, tenant, feedback.completion_id, feedback.choice)
            return _on(row, feedback.choice, identifier, _key("own", identifier))
        case Thumb() | Rating() | Flag() | Correction():
            return on_answer(_answer(session, tenant, feedback.completion_id, feedback.choice), feedback)


def on_answer(row: Completion, feedback: Simple) -> Target:
    """The target of feedback on one answer that is there."""
    value = [feedback.value] if isinstance(feedback, Flag) else []
    return _on(row, feedback.choice, new_id("fb"), _answer_key(feedback, *value))


def as_answer(target: Target, review_id: str) -> Target:
    """The target of an answer to a question, which stands beside whatever the same person says unasked."""
    return target._replace(natural_key=_key("review", review_id))


def find_again(session: Session, tenant: str, feedback: Feedback, feedback_id: str, natural_key: str) -> Target:
    """The target of feedback that was accepted before, as its turns are now."""
    completion = other = None
    completion_id = getattr(feedback, "completion_id", None)
    if completion_id is not None:
        completion = turns.find(session, tenant, completion_id)
    if isinstance(feedback, Comparison) and feedback.other_completion_id is not None:
        other = turns.find(session, tenant, feedback.other_completion_id)
    return Target(
        feedback_id,
        natural_key,
        completion,
        getattr(feedback, "choice", 0),
        other,
        getattr(feedback, "other_choice", 0),
        completion.conversation_id if completion else getattr(feedback, "conversation_id", None),
    )


def _on(row: Completion, choice: int, feedback_id: str, natural_key: str) -> Target:
    return Target(feedback_id, natural_key, row, choice, conversation_id=row.conversation_id)


def _answer(session: Session, tenant: str, completion_id: str, choice: int, prefix: str = "") -> Completion:
    row = turns.find(session, tenant, completion_id, field=f"{prefix}completion_id")
    if choice >= row.n:
        raise BadChoice(f"completion {completion_id!r} has {row.n} choice(s), counted from 0", field=f"{prefix}choice")
    return row


def _comparison(session: Session, tenant: str, feedback: Comparison) -> Target:
    row = _answer(session, tenant, feedback.completion_id, feedback.choice)
    if (feedback.other_completion_id is None) == (feedback.other_text is None):
        raise BadTarget("give exactly one of other_completion_id and other_text", field="other_completion_id")
    if feedback.other_text is not None:
        digest = hashlib.sha256(feedback.other_text.encode()).hexdigest()
        return _on(row, feedback.choice, new_id("fb"), _answer_key(feedback, "text", digest))
    identifier = feedback.other_completion_id or ""
    if (identifier, feedback.other_choice) == (feedback.completion_id, feedback.choice):
        raise BadTarget("an answer cannot be compared with itself", field="other_completion_id")
    other = _answer(session, tenant, identifier, feedback.other_choice, "other_")
    key = _answer_key(feedback, "completion", identifier, feedback.other_choice)
    return _on(row, feedback.choice, new_id("fb"), key)._replace(other=other, other_choice=feedback.other_choice)


def _outcome(session: Session, tenant: str, feedback: Outcome) -> Target:
    if (feedback.completion_id is None) == (feedback.conversation_id is None):
        raise BadTarget("give exactly one of completion_id and conversation_id", field="completion_id")
    if feedback.completion_id is not None:
        row = _answer(session, tenant, feedback.completion_id, feedback.choice)
        key = _key("outcome", feedback.completion_id, feedback.choice, feedback.user, feedback.name)
        return _on(row, feedback.choice, new_id("fb"), key)
    conversation = feedback.conversation_id or ""
    if not turns.conversation_exists(session, tenant, conversation):
        raise UnknownConversation(f"no conversation {conversation!r}", field="conversation_id")
    key = _key("outcome-of-conversation", conversation, feedback.user, feedback.name)
    return Target(new_id("fb"), key, conversation_id=conversation)


def _answer_key(feedback: OnAnswer, *more: Any) -> str:
    kind = type(feedback).__name__.lower()
    return _key(kind, feedback.completion_id, feedback.choice, feedback.user, *more)


def _key(*parts: Any) -> str:
    return _encoder.encode(parts).decode()
