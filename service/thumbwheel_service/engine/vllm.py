"""vLLM in this process: `AsyncLLM` behind vLLM's own OpenAI serving layer, with LoRA adapters as policies.

Only this file and its `vllm_*` neighbours know vLLM, and they are imported when an engine is made, never before:
the environment that vLLM reads at import is set first.
"""

import asyncio
import logging
import math
import uuid
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from thumbwheel.artifact import base_fingerprint
from thumbwheel.internal import Sampled
from thumbwheel.template import has_chat_template
from thumbwheel_service.engine.checkpoint import resolve_checkpoint
from thumbwheel_service.engine.gate import RolloutGate
from thumbwheel_service.engine.options import EngineOptions
from thumbwheel_service.engine.protocol import (
    BASE,
    AdapterRefused,
    ChatRequest,
    ChatRun,
    EngineDown,
    EngineHealth,
    ModelInfo,
)
from thumbwheel_service.engine.vllm_args import arguments, one_engine_process, prepare_environment, require_plugin

_log = logging.getLogger(__name__)
PROBE_TOKENS = 4
CPU_GRACE_SECONDS = 0.5
"""An idle CPU engine has nothing to give back but memory, and takes five seconds to do it in order."""


class VllmEngine:
    """Implements `PolicyEngine` on real vLLM, on a CPU or a GPU."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._state = EngineHealth(state="stopped", detail="not started yet")
        self._info: ModelInfo | None = None
        self._on_cpu = False
        self._llm: Any = None
        self._serving: Any = None
        self._models: Any = None
        self._gate = RolloutGate(alone=options.rollout_seqs, beside_chats=options.rollout_seqs_beside_chats)
        self._sampler: Any = None

    async def start(self) -> None:
        """Load the model; raises `ModelNotFound` and whatever vLLM has to say about the checkpoint."""
        self._state = EngineHealth(state="starting", detail="loading the model")
        try:
            await self._start()
        except BaseException as error:
            self._state = EngineHealth(state="dead", detail=f"the engine did not start: {error}")
            raise
        self._state = EngineHealth(state="ready")

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        checkpoint = await loop.run_in_executor(None, resolve_checkpoint, self._options.model)
        prepare_environment(self._options)
        self._on_cpu = on_cpu = await loop.run_in_executor(None, _is_cpu)
        with one_engine_process(self._options) if on_cpu else nullcontext():
            args = await loop.run_in_executor(None, partial(arguments, self._options, checkpoint, on_cpu=on_cpu))
            await self._launch(args)
        config = self._llm.model_config
        self._info = ModelInfo(
            model=self._options.model,
            path=checkpoint,
            fingerprint=base_fingerprint(checkpoint),
            max_model_len=int(config.max_model_len),
            max_lora_rank=self._options.max_lora_rank,
            vocab_size=int(config.get_vocab_size()),
            dtype=str(config.dtype).removeprefix("torch."),
            chat_template="model" if has_chat_template(checkpoint) else "plain",
        )
        if self._info.chat_template == "plain":
            _log.warning("%s brings no chat template; the plain one is used (one line per message)", checkpoint)
        if on_cpu:
            await self.probe(BASE)

    async def _launch(self, args: Namespace) -> None:
        from starlette.datastructures import State
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state

        from thumbwheel_service.engine.vllm_recorder import RecordingLLM
        from thumbwheel_service.engine.vllm_rollouts import RolloutSampler

        engine_args = AsyncEngineArgs.from_cli_args(args)
        self._llm = RecordingLLM.from_engine_args(engine_args)
        await self._llm.reset_mm_cache()
        state = State()
        await init_app_state(self._llm, state, args, await self._llm.get_supported_tasks())
        self._serving = state.openai_serving_chat
        self._models = state.openai_serving_models
        if self._serving is None:
            raise AdapterRefused(f"{self._options.model} is no text-generating model")
        self._sampler = RolloutSampler(self._llm, self._gate)

    async def stop(self) -> None:
        """Shut the engine's processes down; safe to call twice."""
        self._state = EngineHealth(state="stopped", detail="the service is stopping")
        llm, self._llm = self._llm, None
        if llm is not None:
            grace = CPU_GRACE_SECONDS if self._on_cpu else None
            await asyncio.get_running_loop().run_in_executor(None, partial(llm.shutdown, timeout=grace))

    def health(self) -> EngineHealth:
        """Cheap; notices that the engine's process has died."""
        if self._state.state == "ready" and self._llm.errored:
            self._state = EngineHealth(state="dead", detail="the engine's process has died; restart the service")
        return self._state

    @property
    def info(self) -> ModelInfo:
        """What is being served."""
        if self._info is None:
            raise EngineDown("the model is still loading")
        return self._info

    def parse(self, body: dict[str, Any]) -> ChatRequest:
        """Validate an OpenAI chat body."""
        from thumbwheel_service.engine.vllm_chat import parse_chat

        self._require_ready()
        return parse_chat(body)

    def chat(
        self, request: ChatRequest, *, completion_id: str, policy: str, model: str, on_start: Callable[[], None]
    ) -> ChatRun:
        """Begin a chat."""
        from thumbwheel_service.engine.vllm_chat import VllmChat

        self._require_ready()
        self._gate.chat_started()
        return VllmChat(
            self._serving,
            self._llm,
            request,
            completion_id=completion_id,
            policy=policy,
            model=model,
            on_start=on_start,
            on_end=self._gate.chat_ended,
        )

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name never used before."""
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        self._require_ready()
        request = LoadLoRAAdapterRequest(lora_name=name, lora_path=str(folder))
        result = await self._models.load_lora_adapter(request)
        if isinstance(result, ErrorResponse):
            self._require_ready()
            raise AdapterRefused(f"the engine could not load it: {result.error.message}")

    async def unload(self, name: str) -> None:
        """Forget an adapter."""
        if self._models is None or self._llm is None:
            return
        lora = self._models.lora_requests.pop(name, None)
        if lora is not None and not self._llm.errored:
            await self._llm.remove_lora(lora.lora_int_id)

    def loaded(self) -> list[str]:
        """Names of the loaded adapters."""
        return list(self._models.lora_requests) if self._models is not None else []

    async def probe(self, policy: str) -> None:
        """A few greedy tokens with finite log-probabilities, or `AdapterRefused`."""
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        from thumbwheel_service.engine.vllm_recorder import sampled_logprobs

        self._require_ready(starting=True)
        params = SamplingParams(
            temperature=0.0,
            max_tokens=PROBE_TOKENS,
            ignore_eos=True,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = self._llm.get_tokenizer().encode("Hello") or [0]
        final: Any = None
        async for output in self._llm.generate(
            tokens_input(prompt), params, f"probe-{uuid.uuid4().hex}", lora_request=self._lora(policy)
        ):
            final = output
        completion = final.outputs[0]
        logprobs = sampled_logprobs(completion.token_ids, completion.logprobs)
        if not logprobs or not all(math.isfinite(value) for value in logprobs):
            raise AdapterRefused("its probe generation has no finite log-probabilities")

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
        """Rollouts at low priority; raises `ChatRefused` for a prompt the model cannot take, `EngineDown`."""
        from thumbwheel_service.engine.vllm_rollouts import translate

        self._require_ready()
        lora = self._lora(policy)
        try:
            result: list[list[Sampled]] = await self._sampler.sample(
                lora, prompts, n=n, max_tokens=max_tokens, temperature=temperature, seed=seed
            )
        except ExceptionGroup as group:
            raise translate(group.exceptions[0]) from group.exceptions[0]
        return result

    def _lora(self, policy: str) -> Any:
        if policy == BASE:
            return None
        lora = self._models.lora_requests.get(policy)
        if lora is None:
            raise AdapterRefused(f"no adapter named {policy!r} is loaded")
        return lora

    def _require_ready(self, *, starting: bool = False) -> None:
        health = self.health()
        if health.state != "ready" and not (starting and health.state == "starting"):
            raise EngineDown(health.detail)


def _is_cpu() -> bool:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return False
    require_plugin()
    return True
