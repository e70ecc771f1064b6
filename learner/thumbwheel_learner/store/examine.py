"""Is this record an event we may store? Nothing here touches the database."""

from typing import NamedTuple

import msgspec
from msgspec import Struct

from thumbwheel import box
from thumbwheel.bus import Record
from thumbwheel.events import (
    DeadLettered,
    DeadLetterSettled,
    Envelope,
    ErasureApplied,
    Event,
    FeedbackRecorded,
    FeedbackSealed,
    LearnerCommand,
    LearnerReported,
    PersonErased,
    PolicyPublished,
    PolicyRejected,
    PolicyRouted,
    ReviewAsked,
    ReviewWithdrawn,
    TurnCompleted,
    TurnSealed,
    decode,
    topic_and_key,
)
from thumbwheel_learner.errors import LearnerError

KNOWN_SCHEMAS: dict[str, int] = {
    str(event.__struct_config__.tag): 1
    for event in (
        TurnCompleted,
        TurnSealed,
        FeedbackRecorded,
        FeedbackSealed,
        PersonErased,
        ErasureApplied,
        ReviewAsked,
        ReviewWithdrawn,
        PolicyPublished,
        PolicyRouted,
        PolicyRejected,
        LearnerCommand,
        LearnerReported,
        DeadLettered,
        DeadLetterSettled,
    )
}
"""The newest schema version of each event that this learner understands."""


class ContractBroken(LearnerError):
    """The record is not an event, or breaks the contract of its topic."""


class NewerSchema(LearnerError):
    """The record was written by a newer Thumbwheel: this learner must be upgraded before it may read on."""


class Accepted(NamedTuple):
    """A record that is an event we understand."""

    record: Record
    envelope: Envelope


class Rejected(NamedTuple):
    """A record for the dead letters, and why."""

    record: Record
    reason: str


class _PeekEvent(Struct):
    type: str
    schema_version: int = 1


class _Peek(Struct):
    event: _PeekEvent


def examine(record: Record) -> Envelope:
    """Parse and check one record; raises `ContractBroken` or `NewerSchema`."""
    try:
        envelope = decode(record.value)
    except msgspec.MsgspecError as error:
        _refuse_newer(record)
        raise ContractBroken(f"not an event: {error}") from error
    event = envelope.event
    known = KNOWN_SCHEMAS[str(event.__struct_config__.tag)]
    if event.schema_version > known:
        raise NewerSchema(f"{event.__struct_config__.tag} has schema_version {event.schema_version}, known is {known}")
    topic, key = topic_and_key(event)
    if topic.name != record.topic:
        raise ContractBroken(f"a {event.__struct_config__.tag} does not belong on {record.topic}")
    if not envelope.event_id:
        raise ContractBroken("event_id is empty")
    if any("\0" in name for name in (key, envelope.event_id, envelope.tenant)):
        raise ContractBroken("an identifier holds a NUL character")
    _check(event)
    return envelope


def _refuse_newer(record: Record) -> None:
    try:
        peek = msgspec.json.decode(record.value, type=_Peek).event
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if peek.schema_version > KNOWN_SCHEMAS.get(peek.type, 1):
        raise NewerSchema(f"{peek.type} has schema_version {peek.schema_version}")


def _check(event: Event) -> None:
    match event:
        case FeedbackRecorded() | FeedbackSealed():
            if event.revision < 1:
                raise ContractBroken(f"revision {event.revision} is below 1")
            if not event.feedback_id:
                raise ContractBroken("feedback_id is empty")
            if isinstance(event, FeedbackSealed):
                _check_box(event.box)
        case TurnCompleted() | TurnSealed():
            if not event.completion_id or "\0" in event.completion_id + event.policy_version:
                raise ContractBroken("completion_id is empty, or an identifier holds a NUL character")
            if isinstance(event, TurnSealed):
                _check_box(event.box)
            else:
                _check_lengths(event)
        case ReviewAsked():
            if not event.review_id or "\0" in event.completion_id + event.conversation_id:
                raise ContractBroken("review_id is empty, or an identifier holds a NUL character")
            if box.is_box(event.box):
                _check_box(event.box)
        case _:
            pass


def _check_box(sealed: bytes) -> None:
    """What is inside is checked when it is opened: reading the bus needs no keys."""
    try:
        box.key_ids(sealed)
    except box.BoxDamaged as error:
        raise ContractBroken(str(error)) from error


def _check_lengths(turn: TurnCompleted) -> None:
    for choice in turn.choices:
        ids, logprobs = choice.token_ids, choice.logprobs
        if ids is not None and logprobs is not None and len(ids) != len(logprobs):
            raise ContractBroken(f"choice {choice.index}: {len(ids)} token ids, {len(logprobs)} logprobs")
