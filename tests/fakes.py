"""Fakes that implement the project's own Protocols; what only one test needs stays with that test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from thumbwheel.internal import Sampled
from thumbwheel_service.engine.protocol import ChatRequest, ChatRun, EngineDown, EngineHealth, ModelInfo


class IdleEngine:
    """A `PolicyEngine` that is up and answers nothing: for tests that never chat."""

    def __init__(self) -> None:
        self.state = EngineHealth(state="stopped")
        self._loaded: list[str] = []

    async def start(self) -> None:
        self.state = EngineHealth(state="ready")

    async def stop(self) -> None:
        self.state = EngineHealth(state="stopped")

    def health(self) -> EngineHealth:
        return self.state

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            model="idle",
            path=Path("idle"),
            fingerprint="0" * 64,
            max_model_len=128,
            max_lora_rank=16,
            vocab_size=100,
            dtype="float32",
            chat_template="plain",
        )

    def parse(self, body: dict[str, Any]) -> ChatRequest:
        raise EngineDown("this engine does not chat")

    def chat(
        self, request: ChatRequest, *, completion_id: str, policy: str, model: str, on_start: Callable[[], None]
    ) -> ChatRun:
        raise EngineDown("this engine does not chat")

    async def load(self, name: str, folder: Path) -> None:
        self._loaded.append(name)

    async def unload(self, name: str) -> None:
        if name in self._loaded:
            self._loaded.remove(name)

    def loaded(self) -> list[str]:
        return list(self._loaded)

    async def probe(self, policy: str) -> None:
        return

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
        raise EngineDown("this engine does not sample")
