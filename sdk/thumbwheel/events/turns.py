"""What happened in a chat."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from thumbwheel.types import Message, Metadata, Sampling, TurnChoice, TurnStatus


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
