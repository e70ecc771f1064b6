"""Bus envelope, topics and every event: the contract between service, learner and outside tools.

Every event has a literal `type` and a `schema_version`. Fields are only ever added, with defaults; what would break a
reader raises `schema_version`. `tests/contract/golden/` keeps one JSON per event version, and an old golden must
always parse.
"""

import secrets
import time
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from thumbwheel.types import (
    AffectedVersion,
    Feedback,
    Kind,
    LearnerStatus,
    Message,
    Metadata,
    ReviewKind,
    Sampling,
    TurnChoice,
    TurnStatus,
)

DEFAULT_TENANT = "default"


class Topic(Struct, frozen=True, kw_only=True):
    """A topic with what both buses must agree on."""

    name: str
    partitions: int
    compacted: bool


TURNS = Topic(name="thumbwheel.turns", partitions=4, compacted=False)
FEEDBACK = Topic(name="thumbwheel.feedback", partitions=4, compacted=False)
POLICIES = Topic(name="thumbwheel.policies", partitions=1, compacted=True)
CONTROL = Topic(name="thumbwheel.control", partitions=1, compacted=False)
LEARNER = Topic(name="thumbwheel.learner", partitions=1, compacted=True)
DEAD_LETTERS = Topic(name="thumbwheel.dead-letters", partitions=1, compacted=True)
ERASURES = Topic(name="thumbwheel.erasures", partitions=1, compacted=False)
REVIEWS = Topic(name="thumbwheel.reviews", partitions=1, compacted=True)
TOPICS: dict[str, Topic] = {
    t.name: t for t in (TURNS, FEEDBACK, POLICIES, CONTROL, LEARNER, DEAD_LETTERS, ERASURES, REVIEWS)
}


class TurnCompleted(Struct, frozen=True, kw_only=True, tag="turn_completed", tag_field="type"):
    """A whole turn (topic turns, key conversation id): the prompt, every choice, and how it was sampled."""

    completion_id: str
    conversation_id: str
    policy_version: str
    status: TurnStatus
    origin: Literal["chat", "import"]
    created_ms: int
    finished_ms: int
    messages: list[Message]
    choices: list[TurnChoice]
    model: str
    user: str | None = None
    routing_propensity: float = 1.0
    prompt_token_ids: list[int] | None = None
    sampling: Sampling | None = None
    metadata: Metadata = {}
    redacted: bool | UnsetType = UNSET
    """Something was taken out of messages, answers or metadata before this was written; there are no token ids then."""
    schema_version: int = 1


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


class TurnSealed(Struct, frozen=True, kw_only=True, tag="turn_sealed", tag_field="type"):
    """A turn as it travels (topic turns, key conversation id): what it needs to be filed, and the rest in a box.

    `box` opens to the JSON of a `TurnCompleted` under the name `turn/<completion_id>`; see `thumbwheel.sealed`.
    """

    completion_id: str
    conversation_id: str
    policy_version: str
    status: TurnStatus
    origin: Literal["chat", "import"]
    created_ms: int
    finished_ms: int
    box: bytes
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


class PersonErased(Struct, frozen=True, kw_only=True, tag="person_erased", tag_field="type"):
    """Something is to be forgotten (topic erasures, key erasure id): who holds anything under these keys drops it.

    The keys are destroyed; what is left of their boxes anywhere cannot be read.
    """

    erasure_id: str
    keys: list[str]
    created_ms: int
    by_age: bool = False
    """It was too old to be kept, and nobody asked for it: people may have newer keys."""
    schema_version: int = 1


class ErasureApplied(Struct, frozen=True, kw_only=True, tag="erasure_applied", tag_field="type"):
    """The learner has forgotten too, and says what had been made of it (topic erasures, key `applied/<erasure id>`)."""

    erasure_id: str
    turns: int
    feedback: int
    versions: list[AffectedVersion]
    created_ms: int
    schema_version: int = 1


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


class PolicyPublished(Struct, frozen=True, kw_only=True, tag="policy_published", tag_field="type"):
    """The learner offers a version (topic policies, key `published/<version>`)."""

    version: str
    artifact: str
    """Folder of the artifact, relative to the artifact store."""
    manifest_sha256: str
    created_ms: int
    promote: Literal["auto", "manual"] = "auto"
    """manual: load and list it, but move the route only when a person says yes."""
    schema_version: int = 1


class PolicyRouted(Struct, frozen=True, kw_only=True, tag="policy_routed", tag_field="type"):
    """The service moved the live route (topic policies, key `route`)."""

    version: str
    previous: str
    epoch: int
    reason: str
    seconds: float
    """From the event that asked for it to the moved route."""
    created_ms: int
    schema_version: int = 1


class PolicyRejected(Struct, frozen=True, kw_only=True, tag="policy_rejected", tag_field="type"):
    """The service would not load a published version (topic policies, key `rejected/<version>`)."""

    version: str
    reason: str
    created_ms: int
    schema_version: int = 1


class LearnerCommand(Struct, frozen=True, kw_only=True, tag="learner_command", tag_field="type"):
    """An operator's word to the learner (topic control, key `learner`)."""

    command: Literal["now", "pause", "resume"]
    created_ms: int
    stages: list[Literal["sft", "reward", "ppo"]] = []
    """Only these stages for this run; empty: all that are configured."""
    schema_version: int = 1


class LearnerReported(Struct, frozen=True, kw_only=True, tag="learner_reported", tag_field="type"):
    """The learner's latest word on itself (topic learner, key `status`)."""

    status: LearnerStatus
    schema_version: int = 1


class DeadLettered(Struct, frozen=True, kw_only=True, tag="dead_lettered", tag_field="type"):
    """A record that cannot be used, as it came (topic dead-letters, key `<topic>/<partition>/<offset>`).

    `key` and `value` are bytes (base64 in JSON). What is too large to travel once more is cut, and `whole` is false:
    `size` and `sha256` are those of the uncut value, which the store of the one who reported it keeps.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes
    value: bytes
    whole: bool = True
    size: int
    sha256: str
    created_ms: int
    reported_by: str = "learner"
    schema_version: int = 1


class DeadLetterSettled(Struct, frozen=True, kw_only=True, tag="dead_letter_settled", tag_field="type"):
    """An operator is done with a dead letter (topic dead-letters, key `settled/<topic>/<partition>/<offset>`).

    Under a key of its own: who reads the source anew reports its letters anew, and that must not open them again.
    """

    topic: str
    partition: int
    offset: int
    outcome: Literal["replayed", "dismissed"]
    created_ms: int
    schema_version: int = 1


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


def now_ms() -> int:
    """Wall-clock time in milliseconds since the epoch, the unit of every timestamp on the wire."""
    return time.time_ns() // 1_000_000


def time_ordered() -> str:
    """32 hexadecimal digits: 48 bits of time, then 80 random ones (as in UUID version 7, RFC 9562).

    Indexes grow at their end, where pages are warm, and nobody guesses another's.
    """
    return f"{now_ms():012x}{secrets.token_hex(10)}"


def new_id(prefix: str) -> str:
    """A fresh identifier that names its kind, e.g. `fb-019a…`; see `time_ordered`."""
    return f"{prefix}-{time_ordered()}"


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


def letter_id(letter: DeadLettered | DeadLetterSettled) -> str:
    """What a dead letter is called: where it lay."""
    return f"{letter.topic}/{letter.partition}/{letter.offset}"


def to_builtins(value: Any) -> Any:
    """Plain JSON-able objects of any wire struct."""
    return msgspec.to_builtins(value)
