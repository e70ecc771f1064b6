"""What the service asks of an inference engine, free of any engine's own types.

A *policy* is `BASE`, or a LoRA adapter under the unique name it was loaded with: a name is never used twice in the life
of a process, so that no cache can confuse two adapters.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct

from thumbwheel.internal import Sampled
from thumbwheel.types import Sampling
from thumbwheel_service.errors import BadInput, ServiceError, Unavailable

BASE = "base"
"""The policy without any adapter."""


class EngineDown(Unavailable):
    """The engine is starting, stopped or dead."""

    code = "engine_down"


class ChatRefused(ServiceError):
    """The serving layer would not take the chat (status and message are its own)."""

    def __init__(self, detail: str, *, status: int, title: str, field: str | None = None) -> None:
        super().__init__(detail, field=field, code=title)
        self.status = status
        self.title = title


class AdapterRefused(BadInput):
    """The engine could not load the adapter."""

    code = "adapter_refused"


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What is being served."""

    model: str
    """As configured: a local path or a hub id."""
    path: Path
    fingerprint: str
    """`artifact.base_fingerprint` of the checkpoint: adapters for another base are refused."""
    max_model_len: int
    max_lora_rank: int
    vocab_size: int
    dtype: str
    chat_template: Literal["model", "plain"]
    """plain: the checkpoint brings none, `template.PLAIN_CHAT_TEMPLATE` is used."""


class EngineHealth(Struct, frozen=True, kw_only=True):
    """Whether the engine answers, and if not, why."""

    state: Literal["starting", "ready", "dead", "stopped"]
    detail: str = ""


class ChoiceTrace(Struct):
    """What the engine sampled for one choice; log-probabilities are nats of the behaviour distribution."""

    text: str = ""
    token_ids: list[int] = []
    logprobs: list[float] = []
    finish_reason: str | None = None
    """`stop` | `length` | `abort`; None while it runs."""


class Trace(Struct, kw_only=True):
    """Everything seen of one chat at the engine's own door; it fills up while the chat runs."""

    sampling: Sampling | None = None
    prompt_token_ids: list[int] | None = None
    choices: dict[int, ChoiceTrace] = {}
    exact: bool = True
    """False where the serving layer did not sample plainly (beam search): no token-level record."""


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A validated chat body; `native` is the engine's own request object."""

    native: Any
    stream: bool
    n: int


class ChatRun(Protocol):
    """One chat under way."""

    trace: Trace

    async def answer(self) -> dict[str, Any]:
        """The whole answer as an OpenAI body; raises `ChatRefused`, `EngineDown`."""
        ...

    def events(self) -> AsyncGenerator[str, None]:
        """Server-sent events (`data: …` with the blank line, `[DONE]` last); an early error is raised instead."""
        ...

    async def abort(self) -> None:
        """Stop sampling; what was sampled so far stays in the trace."""
        ...


class PolicyEngine(Protocol):
    """Serves one base model and any number of LoRA adapters on it."""

    async def start(self) -> None:
        """Load the model; returns when it can answer."""
        ...

    async def stop(self) -> None:
        """Release everything; safe to call twice."""
        ...

    def health(self) -> EngineHealth:
        """Cheap, for readiness."""
        ...

    @property
    def info(self) -> ModelInfo:
        """Raises `EngineDown` before `start`."""
        ...

    def parse(self, body: dict[str, Any]) -> ChatRequest:
        """Validate an OpenAI chat body; raises `ChatRefused` naming the field."""
        ...

    def chat(
        self, request: ChatRequest, *, completion_id: str, policy: str, model: str, on_start: Callable[[], None]
    ) -> ChatRun:
        """Begin a chat with `policy`, answering under the public name `model`.

        `on_start` is called, on the event loop, when the request has passed every check and sampling begins.
        """
        ...

    async def load(self, name: str, folder: Path) -> None:
        """Load the adapter in `folder`, which must stay until `unload`; raises `AdapterRefused`, `EngineDown`."""
        ...

    async def unload(self, name: str) -> None:
        """Forget an adapter; unknown names are fine."""
        ...

    def loaded(self) -> list[str]:
        """Names of the loaded adapters."""
        ...

    async def probe(self, policy: str) -> None:
        """Generate with the policy; raises `AdapterRefused` unless there are tokens with finite log-probabilities."""
        ...

    async def sample(
        self,
        policy: str,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> list[list[Sampled]]:
        """`n` completions per prompt of token ids, at lower priority than any chat, from the tempered policy itself."""
        ...
