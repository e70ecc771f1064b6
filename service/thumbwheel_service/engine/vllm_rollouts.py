"""Rollouts for the learner on the serving engine: many prompts, low priority, plain sampling."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from vllm.exceptions import VLLMError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

from thumbwheel.internal import Sampled
from thumbwheel_service.engine.gate import RolloutGate
from thumbwheel_service.engine.protocol import ChatRefused, EngineDown
from thumbwheel_service.engine.vllm_recorder import RecordingLLM, sampled_logprobs

LOW_PRIORITY = 100
"""vLLM schedules lower numbers first; chats have 0."""
_SEED_SPACE = 2**63
_GOLDEN = 0x9E3779B97F4A7C15


class RolloutSampler:
    """Samples from the tempered policy itself: top_p=1, top_k=0, min_p=0, no penalties."""

    def __init__(self, llm: RecordingLLM, gate: RolloutGate) -> None:
        self._llm = llm
        self._gate = gate
        self._serial = itertools.count()

    async def sample(
        self,
        lora: LoRARequest | None,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> list[list[Sampled]]:
        """`n` completions per prompt; sample j of prompt i has a seed of its own derived from `seed`, i and j."""
        batch = next(self._serial)
        async with asyncio.TaskGroup() as group:
            tasks = [
                [
                    group.create_task(
                        self._one(
                            lora,
                            list(prompt),
                            f"rollout-{batch}-{i}-{j}",
                            max_tokens=max_tokens,
                            temperature=temperature,
                            seed=None if seed is None else derive_seed(seed + i, j),
                        )
                    )
                    for j in range(n)
                ]
                for i, prompt in enumerate(prompts)
            ]
        return [[task.result() for task in row] for row in tasks]

    async def _one(
        self,
        lora: LoRARequest | None,
        prompt: list[int],
        request_id: str,
        *,
        max_tokens: int,
        temperature: float,
        seed: int | None,
    ) -> Sampled:
        params = SamplingParams(
            temperature=temperature,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            max_tokens=max_tokens,
            seed=seed,
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_special_tokens=True,
            skip_clone=True,
        )
        async with self._gate:
            final: Any = None
            async for output in self._llm.generate(
                tokens_input(prompt), params, request_id, lora_request=lora, priority=LOW_PRIORITY
            ):
                final = output
        completion = final.outputs[0]
        return Sampled(
            list(completion.token_ids),
            sampled_logprobs(completion.token_ids, completion.logprobs),
            completion.finish_reason or "length",
            completion.text,
        )


def derive_seed(seed: int, j: int) -> int:
    """A seed for sample j: the first sample's is `seed` itself; neighbours never coincide (Weyl sequence)."""
    return (seed + j * _GOLDEN) % _SEED_SPACE


def translate(error: BaseException) -> Exception:
    """vLLM's complaint about a rollout as one of ours."""
    if isinstance(error, EngineDeadError):
        return EngineDown("the engine has died")
    if isinstance(error, VLLMError | ValueError):
        return ChatRefused(str(error), status=400, title="invalid_rollout")
    return EngineDown(f"the engine failed: {error}")
