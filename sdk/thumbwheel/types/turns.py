"""Chat turns: brought in from elsewhere, and as they are read back."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from thumbwheel.types.basics import Identifier, Label, Message, Metadata, Text
from thumbwheel.types.feedback import FeedbackRecord


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
