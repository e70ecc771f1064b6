"""HTTP wire types: what an app, a customer or an agent sends to the service, and what comes back.

One struct per body, decoded strictly: an unknown field is an error, so that a typing mistake never loses feedback.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Identifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@+\-]*$(?!\n)")]
LABEL_LENGTH, TEXT_LENGTH, COMMENT_LENGTH = 128, 65_536, 16_384
"""In characters."""
METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 64, 512
Label = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH)]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH)]
Comment = Annotated[str, Meta(max_length=COMMENT_LENGTH)]
Metadata = dict[
    Annotated[str, Meta(max_length=METADATA_KEY_LENGTH)], Annotated[str, Meta(max_length=METADATA_VALUE_LENGTH)]
]
Message = dict[str, Any]
Source = Literal["human", "llm", "code"]
Choice = Annotated[int, Meta(ge=0, le=127)]
Timestamp = Annotated[datetime, Meta(tz=True)]
"""A moment with its offset; RFC 3339 on the wire."""

COMPLETION_HEADER = "x-thumbwheel-completion-id"
VERSION_HEADER = "x-thumbwheel-policy-version"
CONVERSATION_HEADER = "x-thumbwheel-conversation-id"
BODY_KEY = "thumbwheel"
"""The one namespaced key under which chat bodies and first stream chunks carry our own fields."""


class ChatStamp(Struct, frozen=True, kw_only=True):
    """Which policy answered, and under which identity feedback finds the answer (body key `thumbwheel`)."""

    completion_id: str
    policy_version: str
    conversation_id: str


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


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details; `field` is the JSON path of the offending value."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    code: str | None = None
    field: str | None = None
    instance: str | None = None


class FeedbackBatchItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item of a batch: exactly one of `record` and `problem`."""

    index: int
    status: int
    record: FeedbackRecord | None = None
    problem: Problem | None = None


class FeedbackBatchResult(Struct, frozen=True, kw_only=True):
    """One row per item, in the order sent."""

    items: list[FeedbackBatchItem]


class TurnIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An answer that another model or a human gave elsewhere, brought in by `POST /v1/turns`."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=256)]
    answers: Annotated[list[Text], Meta(min_length=1, max_length=16)]
    completion_id: Identifier | None = None
    conversation_id: Identifier | None = None
    user: Identifier | None = None
    model: Label | None = None
    created_ms: int | None = None
    metadata: Metadata = {}


class TurnChoice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of a turn; ids and log-probabilities only where our own engine sampled it."""

    index: int
    text: str
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    """Log-probability of each sampled token under the behaviour distribution, in nats; same length as `token_ids`."""
    tool_calls: list[dict[str, Any]] = []


class Sampling(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The sampling parameters that were really in force, whatever the request left out."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    max_tokens: int | None
    seed: int | None = None
    constrained: bool = False
    """Structured output, forced tools, logit bias, bad words …: the probabilities are not the policy's own."""

    def is_plain(self) -> bool:
        """Whether recorded log-probabilities are those of the tempered policy itself, fit for importance weights."""
        return (
            self.temperature > 0
            and self.top_p == 1.0
            and self.top_k in (0, -1)
            and self.min_p == 0.0
            and self.presence_penalty == 0.0
            and self.frequency_penalty == 0.0
            and self.repetition_penalty == 1.0
            and not self.constrained
        )


TurnStatus = Literal["open", "complete", "cut", "lost"]
"""open: being generated; cut: the client went away; lost: the service died before the turn was stored."""


class Turn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded chat turn, as read back."""

    completion_id: str
    conversation_id: str
    policy_version: str
    status: TurnStatus
    origin: Literal["chat", "import"]
    created_ms: int
    finished_ms: int | None = None
    user: str | None = None
    model: str | None = None
    messages: list[Message] = []
    choices: list[TurnChoice] = []
    sampling: Sampling | None = None
    metadata: Metadata = {}
    feedback: list[FeedbackRecord] = []
    redacted: bool = False
    """Something was taken out before it was stored; the token ids and log-probabilities went with it."""


class TurnPage(Struct, frozen=True, kw_only=True):
    """A page of turns, newest first; `next` is the cursor of the following page, None on the last."""

    items: list[Turn]
    next: str | None = None


class FeedbackPage(Struct, frozen=True, kw_only=True):
    """A page of feedback, newest first; `next` is the cursor of the following page, None on the last."""

    items: list[FeedbackRecord]
    next: str | None = None


ReviewKind = Literal["judge", "compare"]
"""judge: is this answer good, or what should it say; compare: which of two answers is better."""


class Review(Struct, frozen=True, kw_only=True):
    """A question of the learner that waits for an answer, as `GET /v1/reviews` lists it."""

    review_id: str
    kind: ReviewKind
    conversation_id: str
    completion_id: str
    choice: int
    policy_version: str
    messages: list[Message]
    answer: str
    other_answer: str | None
    """The second answer of a `compare`."""
    acquisition: str
    """By which function the learner chose it."""
    score: float
    random: bool
    """Drawn without looking at any score."""
    reward_model: str
    created_ms: int
    expires_ms: int


class ReviewPage(Struct, frozen=True, kw_only=True):
    """A page of open questions, newest first; `next` is the cursor of the following page, None on the last."""

    items: list[Review]
    next: str | None = None


class ReviewAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person says to a question: exactly one of `value` and `correction`."""

    value: Literal["up", "down", "this", "other", "tie"] | None = None
    """judge: up or down; compare: this (`answer`), other (`other_answer`) or tie."""
    correction: Text | None = None
    """judge: what the answer should have been."""
    reasons: Annotated[list[Label], Meta(max_length=10)] = []
    """Of a thumb, as is `comment`."""
    comment: Comment | None = None
    user: Identifier | None = None
    source: Source = "human"
    metadata: Metadata = {}


PolicyState = Literal["published", "loaded", "live", "retired", "rejected", "candidate"]


class PolicyVersion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy version with its lineage and figures, as `GET /v1/policies` lists it."""

    version: str
    state: PolicyState
    parent: str | None = None
    created_ms: int = 0
    reason: str | None = None
    metrics: dict[str, Any] = {}
    verdict: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    swap_seconds: float | None = None


class PolicyList(Struct, frozen=True, kw_only=True):
    """All versions, newest first, and the live route."""

    live: str
    epoch: int
    policies: list[PolicyVersion]


class RollbackIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which version to go back to; None: the one that was live before."""

    version: str | None = None


class AffectedVersion(Struct, frozen=True, kw_only=True):
    """A policy version that was trained on what has been erased since, or descends from one that was."""

    version: str
    examples: int
    """Of its own data, those that came from the erased."""
    share: float
    """The same as a share of its own data, 0 to 1."""
    inherited: bool = False
    """An ancestor was trained on it as well."""


class Erasure(Struct, frozen=True, kw_only=True):
    """The receipt of an erasure: what went, and by when nobody can read any copy."""

    erasure_id: str
    subject_sha256: str
    """Of tenant, NUL, `user/<id>` or `conversation/<id>`: proves whose it was, and keeps no name."""
    state: Literal["erasing", "erased", "complete"]
    """erasing: the rows are gone; erased: so are the keys of every copy; complete: the learner has dropped its own."""
    turns: int
    feedback: int
    created_ms: int
    deadline_ms: int
    """By then it is complete, or the status says why it is late."""
    applied_ms: int | None = None
    """When the learner was done."""
    versions: list[AffectedVersion] = []
    """Known once it is complete."""


class ErasureList(Struct, frozen=True, kw_only=True):
    """Erasures, newest first."""

    erasures: list[Erasure]


class LearnerCommandIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A word to the learner; `stages` only narrows `now` (empty: all that are configured)."""

    command: Literal["now", "pause", "resume"]
    stages: list[Literal["sft", "reward", "ppo"]] = []


class StoredOffsets(Struct, frozen=True):
    """How far the learner has stored the bus that it reads."""

    bus: Literal["embedded", "kafka"]
    next: dict[str, int]
    """The next offset to store, by `topic/partition`."""


class LearnerStatus(Struct, frozen=True, kw_only=True):
    """What the learner last said of itself."""

    state: Literal["idle", "training", "paused", "stopped"]
    stage: str | None
    progress: float | None
    """Share of the current stage done, 0 to 1."""
    run_id: str | None
    detail: str
    labels_total: int
    labels_new: int
    """Since the last finished run."""
    updated_ms: int
    reward_model: dict[str, Any] = {}
    last_run: dict[str, Any] = {}
    stored: StoredOffsets | UnsetType = UNSET


class LogStatus(Struct, frozen=True, kw_only=True):
    """The log table: what is kept of turns, feedback and control, and who still needs it."""

    records: int
    oldest_ms: int | None
    """When the oldest of them was written."""
    behind: int | None
    """Records that the learner has not stored yet; None: it has never said."""
    keep_days: float
    """Records are kept for so long once the learner has stored them; 0: for ever."""


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """`GET /v1/status`: one look at both halves."""

    version: str
    model: str
    alias: str
    live_policy: str
    epoch: int
    uptime_s: float
    chats_in_flight: int
    turns: int
    feedback: int
    bus: Literal["embedded", "kafka"]
    learner: LearnerStatus | None = None
    dead_letters: int = 0
    """Records that could not be used and that nobody has settled; `thumbwheel dead-letters` lists them."""
    log: LogStatus | None = None
    """Looked at now and then; None right after the start."""
