"""A `PolicyEngine` without a model: it says what a test tells it to, word by word, and can be held or killed."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from thumbwheel.artifact import base_fingerprint
from thumbwheel.internal import Sampled
from thumbwheel.types import Sampling
from thumbwheel_service.engine.protocol import (
    BASE,
    AdapterRefused,
    ChatRefused,
    ChatRequest,
    ChoiceTrace,
    EngineDown,
    EngineHealth,
    ModelInfo,
    Trace,
)

PLAIN = Sampling(
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    repetition_penalty=1.0,
    max_tokens=64,
)


def served_from(base: Path) -> ModelInfo:
    """What is said of a checkpoint on disk, so that adapters for it are taken."""
    return ModelInfo(
        model=str(base),
        path=base,
        fingerprint=base_fingerprint(base),
        max_model_len=128,
        max_lora_rank=16,
        vocab_size=100,
        dtype="float32",
        chat_template="model",
    )


def adapter_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class FakeEngine:
    """Answers every chat with `says(policy)`; `hold()` makes tokens wait for `go_on()`."""

    def __init__(self, says: Callable[[str], str] = lambda policy: f"I am {policy}", info: ModelInfo | None = None):
        self.says = says
        self.state = EngineHealth(state="ready")
        self.adapters: dict[str, Path] = {}
        self.every_load: list[str] = []
        self.chats: list[FakeChat] = []
        self.refuse_load: str | None = None
        self.refuse_probe: str | None = None
        self.probe_after: asyncio.Event | None = None
        self.sampled: list[tuple[str, int]] = []
        self._flow = asyncio.Event()
        self._flow.set()
        self._left: int | None = None
        self._info = info

    def hold(self) -> None:
        self._flow.clear()

    def hold_after(self, tokens: int) -> None:
        """Let so many more tokens through, then hold."""
        self._left = tokens

    def go_on(self) -> None:
        self._left = None
        self._flow.set()

    def die(self) -> None:
        self._left = None
        self.state = EngineHealth(state="dead", detail="the engine's process has died")
        self._flow.set()

    async def start(self) -> None:
        self.state = EngineHealth(state="ready")

    async def stop(self) -> None:
        self.state = EngineHealth(state="stopped", detail="stopped")

    def health(self) -> EngineHealth:
        return self.state

    @property
    def info(self) -> ModelInfo:
        if self._info is not None:
            return self._info
        return ModelInfo(
            model="fake",
            path=Path("fake"),
            fingerprint="f" * 64,
            max_model_len=128,
            max_lora_rank=16,
            vocab_size=100,
            dtype="float32",
            chat_template="model",
        )

    def parse(self, body: dict[str, Any]) -> ChatRequest:
        self._require_ready()
        messages: Any = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise ChatRefused("messages is a list of objects", status=400, title="BadRequestError", field="messages")
        n = body.get("n") or 1
        if not isinstance(n, int) or not 1 <= n <= 16:
            raise ChatRefused("n lies between 1 and 16", status=400, title="BadRequestError", field="n")
        return ChatRequest(native=body, stream=bool(body.get("stream")), n=n)

    def chat(
        self, request: ChatRequest, *, completion_id: str, policy: str, model: str, on_start: Callable[[], None]
    ) -> "FakeChat":
        self._require_ready()
        chat = FakeChat(self, request, completion_id, policy, model, on_start)
        self.chats.append(chat)
        return chat

    async def load(self, name: str, folder: Path) -> None:
        self._require_ready()
        if self.refuse_load is not None:
            raise AdapterRefused(self.refuse_load)
        assert name not in self.every_load, "a name is never used twice"
        assert adapter_files(folder) == ["adapter_config.json", "adapter_model.safetensors"]
        self.every_load.append(name)
        self.adapters[name] = folder

    async def unload(self, name: str) -> None:
        self.adapters.pop(name, None)

    def loaded(self) -> list[str]:
        return list(self.adapters)

    async def probe(self, policy: str) -> None:
        self._require_ready()
        if self.probe_after is not None:
            await self.probe_after.wait()
        if self.refuse_probe is not None:
            raise AdapterRefused(self.refuse_probe)

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
        self._require_ready()
        await self._flow.wait()
        assert policy == BASE or policy in self.adapters
        self.sampled.append((policy, len(prompts)))
        return [[Sampled([7, 2], [-0.5, -0.25], "stop", policy) for _ in range(n)] for _ in prompts]

    async def token(self) -> None:
        """Wait for the flow; raises when the engine is dead."""
        if self._left == 0:
            self.hold()
        await self._flow.wait()
        if self._left is not None:
            self._left -= 1
        await asyncio.sleep(0)
        self._require_ready()

    def _require_ready(self) -> None:
        if self.state.state != "ready":
            raise EngineDown(self.state.detail)


class FakeChat:
    """Implements `ChatRun`."""

    def __init__(
        self,
        engine: FakeEngine,
        request: ChatRequest,
        completion_id: str,
        policy: str,
        model: str,
        on_start: Callable[[], None],
    ) -> None:
        self.trace = Trace()
        self.policy = policy
        self.aborted = False
        self._engine = engine
        self._request = request
        self.completion_id = completion_id
        self._model = model
        self._on_start = on_start

    async def _tokens(self) -> AsyncGenerator[tuple[int, str, str | None], None]:
        if self._request.native.get("temperature") == "bad":
            raise ChatRefused("temperature is bad", status=400, title="BadRequestError", field="temperature")
        self.trace.sampling, self.trace.prompt_token_ids = PLAIN, [1, 2, 3]
        self._on_start()
        words = self._engine.says(self.policy).split(" ")
        for place, word in enumerate(words):
            await self._engine.token()
            for index in range(self._request.n):
                choice = self.trace.choices.setdefault(index, ChoiceTrace())
                if self.aborted:
                    choice.finish_reason = "abort"
                    yield index, "", "abort"
                    continue
                piece = word if place == 0 else f" {word}"
                choice.text += piece
                choice.token_ids.append(place)
                choice.logprobs.append(-0.5)
                choice.finish_reason = "stop" if place == len(words) - 1 else None
                yield index, piece, choice.finish_reason
            if self.aborted:
                return

    async def answer(self) -> dict[str, Any]:
        texts = [""] * self._request.n
        reasons: list[str | None] = [None] * self._request.n
        async for index, piece, reason in self._tokens():
            texts[index] += piece
            reasons[index] = reason
        choices = [
            {"index": i, "message": {"role": "assistant", "content": texts[i]}, "finish_reason": reasons[i]}
            for i in range(self._request.n)
        ]
        return {**self._head("chat.completion"), "choices": choices}

    async def events(self) -> AsyncGenerator[str, None]:
        first = True
        async for index, piece, reason in self._tokens():
            if first:
                yield self._event({"role": "assistant", "content": ""}, 0, None)
                first = False
            yield self._event({"content": piece}, index, reason)
        yield "data: [DONE]\n\n"

    async def abort(self) -> None:
        self.aborted = True
        self._engine.go_on()

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.completion_id, "object": kind, "created": int(time.time()), "model": self._model}

    def _event(self, delta: dict[str, Any], index: int, reason: str | None) -> str:
        choices = [{"index": index, "delta": delta, "finish_reason": reason}]
        body = {**self._head("chat.completion.chunk"), "choices": choices}
        return f"data: {msgspec.json.encode(body).decode()}\n\n"
