"""Where rollouts come from: the serving engine through its internal endpoint; a transformers sampler in tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Rollout(NamedTuple):
    """One sampled completion with its behaviour log-probabilities (nats, of the tempered distribution)."""

    token_ids: list[int]
    logprobs: list[float]
    finished: bool
    """True when a stop token was sampled (it is the last of `token_ids`)."""
    text: str


class RolloutEngine(Protocol):
    """Samples from an adapter. `adapter` is a PEFT folder, or None for the bare base model."""

    def sample(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` completions per prompt of token ids (chat template applied)."""
        ...
