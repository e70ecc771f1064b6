"""What one event teaches: pure functions from events to training examples."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from thumbwheel.events import DEFAULT_TENANT, Envelope, FeedbackRecorded, ReviewMark, TurnCompleted
from thumbwheel.types import Comparison, Correction, Critique, Demonstration, Feedback, Flag, Outcome, Rating, Thumb
from thumbwheel_learner.dataset.examples import Critique as CritiqueExample
from thumbwheel_learner.dataset.examples import Demo, Judged, LoggedPrompt, Messages, Pair
from thumbwheel_learner.dataset.examples import Outcome as OutcomeExample

LOW = 2
"""Ratings from here down are bad words."""
JudgedKind = Literal["thumb", "rating", "flag"]
PairOrigin = Literal["comparison", "correction"]
DemoOrigin = Literal["correction", "demonstration"]
Label = Pair | Judged | Demo | CritiqueExample | OutcomeExample
Example = Label | LoggedPrompt
AnswerOf = Callable[[str, str, int], str | None]
"""(tenant, completion id, choice) to the text of a stored answer, None when it is not stored."""


class _Where(NamedTuple):
    """Who said it, in which conversation, and when; distinct across tenants."""

    user: str
    conversation_id: str
    created_ms: int
    event_id: str
    source: str
    review_id: str | None
    random_slice: bool


def from_feedback(envelope: Envelope, event: FeedbackRecorded, answer_of: AnswerOf) -> Iterator[Label]:
    """The examples of one piece of feedback; none when it says nothing trainable or its text is missing.

    A correction gives two: a pair (correction over original) and a demonstration. A comment beside a bad word is a
    critique as well. An outcome of a whole conversation gives none: it is no word on any one answer. Retractions and
    feedback on lost turns are the caller's business.
    """
    where = _where(envelope, event)
    given = event.feedback
    if isinstance(given, Demonstration):
        yield _demo(given.messages, given.text, "demonstration", where)
        return
    answer = event.answer
    if answer is None and event.completion_id is not None:
        answer = answer_of(envelope.tenant, event.completion_id, given.choice)
    if not event.messages:
        return
    match given:
        case Thumb() if answer is not None:
            yield _judged(event, answer, "thumb", 1.0 if given.value == "up" else 0.0, where)
        case Rating() if answer is not None:
            yield _judged(event, answer, "rating", float(given.value), where)
        case Flag() if answer is not None:
            yield _judged(event, answer, "flag", 0.0, where)
        case Comparison() if answer is not None:
            yield from _compared(envelope.tenant, event, given, answer, answer_of, where)
        case Outcome() if answer is not None:
            said = {"answer": answer, "name": given.name, "value": given.value}
            yield OutcomeExample(messages=event.messages, **said, **where._asdict())
        case Correction():
            if answer and answer.strip() != given.text.strip():
                yield _pair(event, given.text, answer, "correction", where)
            yield _demo(event.messages, given.text, "correction", where)
        case _:
            pass
    words = critique_in(given)
    if words and answer is not None:
        yield CritiqueExample(messages=event.messages, answer=answer, text=words, **where._asdict())


def critique_in(given: Feedback) -> str | None:
    """What is wrong with an answer, in the giver's words: a critique, or the comment of a bad thumb, rating or flag."""
    match given:
        case Critique():
            return given.text
        case Thumb(value="down") | Flag():
            return given.comment
        case Rating() if given.value <= LOW:
            return given.comment
        case _:
            return None


def prompt_of(envelope: Envelope, event: TurnCompleted) -> LoggedPrompt | None:
    """A prompt to practise on: of a complete chat of ours with something said in it.

    A redacted one tells whose conversation it is, and is not practised on.
    """
    if event.status != "complete" or event.origin != "chat" or not event.messages or not event.choices:
        return None
    first = event.choices[0]
    return LoggedPrompt(
        messages=event.messages,
        conversation_id=_scoped(envelope.tenant, event.conversation_id),
        completion_id=event.completion_id,
        created_ms=event.created_ms,
        answer=first.text,
        other_answers=[choice.text for choice in event.choices[1:]],
        policy_version=event.policy_version,
        event_id=envelope.event_id,
        user=_scoped(envelope.tenant, event.user) if event.user is not None else None,
        intent=event.metadata.get("intent") or event.metadata.get("topic") or None,
        token_ids=first.token_ids,
        prompt_token_ids=event.prompt_token_ids,
        redacted=event.redacted is True,
        temperature=event.sampling.temperature if event.sampling is not None else None,
    )


def _compared(
    tenant: str, event: FeedbackRecorded, given: Comparison, answer: str, answer_of: AnswerOf, where: _Where
) -> Iterator[Pair]:
    other = event.other_answer if event.other_answer is not None else given.other_text
    if other is None and given.other_completion_id is not None:
        other = answer_of(tenant, given.other_completion_id, given.other_choice)
    if other is None or other == answer:
        return
    if given.value == "other":
        yield _pair(event, other, answer, "comparison", where)
    else:
        yield _pair(event, answer, other, "comparison", where, tie=given.value == "tie")


def _where(envelope: Envelope, event: FeedbackRecorded) -> _Where:
    conversation = _scoped(envelope.tenant, event.conversation_id or event.feedback_id)
    user = event.feedback.user
    return _Where(
        user=_scoped(envelope.tenant, user) if user is not None else f"anonymous:{conversation}",
        conversation_id=conversation,
        created_ms=event.created_ms,
        event_id=envelope.event_id,
        source=event.feedback.source,
        review_id=event.review.review_id if isinstance(event.review, ReviewMark) else None,
        random_slice=isinstance(event.review, ReviewMark) and event.review.random,
    )


def _scoped(tenant: str, name: str) -> str:
    return name if tenant == DEFAULT_TENANT else f"{tenant}/{name}"


def _judged(event: FeedbackRecorded, answer: str, kind: JudgedKind, value: float, where: _Where) -> Judged:
    return Judged(
        messages=event.messages,
        answer=answer,
        kind=kind,
        value=value,
        policy_version=event.policy_version,
        **where._asdict(),
    )


def _pair(
    event: FeedbackRecorded, chosen: str, rejected: str, origin: PairOrigin, where: _Where, *, tie: bool = False
) -> Pair:
    return Pair(
        messages=event.messages,
        chosen=chosen,
        rejected=rejected,
        origin=origin,
        policy_version=event.policy_version,
        tie=tie,
        **where._asdict(),
    )


def _demo(messages: Messages, text: str, origin: DemoOrigin, where: _Where) -> Demo:
    return Demo(messages=messages, text=text, origin=origin, **where._asdict())
