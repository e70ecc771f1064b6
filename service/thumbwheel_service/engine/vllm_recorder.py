"""A vLLM engine that writes down what it samples: the recorder at the engine's own door."""

import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple, cast

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from thumbwheel.types import Sampling
from thumbwheel_service.engine.protocol import ChoiceTrace, Trace

LOWEST_LOGPROB = -9999.0
"""vLLM's own floor for what JSON cannot carry (minus infinity)."""


class Watch(NamedTuple):
    """What to fill for one request id, and whom to tell when the engine has taken the request."""

    trace: Trace
    on_start: Callable[[], None]


class RecordingLLM(AsyncLLM):
    """`AsyncLLM` that records token ids, log-probabilities and sampling parameters of watched requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: dict[str, Watch] = {}

    def watch(self, request_id: str, watch: Watch) -> None:
        """Record the request that will come in under this id."""
        self._watched[request_id] = watch

    def unwatch(self, request_id: str) -> None:
        """Forget a request that is over, or never came."""
        self._watched.pop(request_id, None)

    async def add_request(self, request_id: str, *args: Any, **kwargs: Any) -> Any:
        """vLLM's `add_request`; tells the watcher once the request has passed every check."""
        queue = await super().add_request(request_id, *args, **kwargs)
        if watch := self._watched.get(request_id):
            watch.on_start()
        return queue

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """vLLM's `generate`; for watched requests the sampled token's log-probability is always asked for."""
        watch = self._watched.get(request_id)
        if watch is None:
            return super().generate(prompt, sampling_params, request_id, **kwargs)
        watch.trace.sampling = sampling_in_force(sampling_params)
        if sampling_params.logprobs is None and sampling_params.logprob_token_ids is None:
            sampling_params.logprobs = 0
            sampling_params.flat_logprobs = sampling_params.output_kind is RequestOutputKind.FINAL_ONLY
        return _recorded(super().generate(prompt, sampling_params, request_id, **kwargs), watch.trace)


async def _recorded(outputs: AsyncGenerator[RequestOutput, None], trace: Trace) -> AsyncGenerator[RequestOutput, None]:
    async for output in outputs:
        record(trace, output)
        yield output


def record(trace: Trace, output: RequestOutput) -> None:
    """Append what one output of the engine brings (a delta while streaming, everything at the end otherwise)."""
    if trace.prompt_token_ids is None and output.prompt_token_ids is not None:
        trace.prompt_token_ids = list(output.prompt_token_ids)
    for completion in output.outputs:
        choice = trace.choices.setdefault(completion.index, ChoiceTrace())
        choice.text += completion.text
        choice.token_ids.extend(completion.token_ids)
        choice.logprobs.extend(sampled_logprobs(completion.token_ids, completion.logprobs))
        if completion.finish_reason is not None:
            choice.finish_reason = completion.finish_reason


def sampled_logprobs(token_ids: Any, logprobs: Any) -> list[float]:
    """The log-probability of each sampled token in nats, from either of vLLM's two layouts (sampled token first)."""
    if logprobs is None:
        return []
    starts = getattr(logprobs, "start_indices", None)
    if starts is not None:
        flat = cast(list[float], logprobs.logprobs)
        indices: list[int] = list(starts)
        return [_finite(flat[start]) for start in indices]
    steps: list[dict[int, Any]] = list(logprobs)
    return [_finite(step[token].logprob) for token, step in zip(token_ids, steps, strict=True)]


def _finite(value: float) -> float:
    """JSON has no minus infinity; NaN is kept, for whoever checks for it."""
    return value if math.isnan(value) else max(value, LOWEST_LOGPROB)


def sampling_in_force(params: SamplingParams) -> Sampling:
    """What the sampler will really do, whatever the request left out."""
    constrained = any(
        (
            params.structured_outputs is not None,
            params.logit_bias,
            params.allowed_token_ids,
            params.bad_words,
            params.min_tokens,
            params.ignore_eos,
            params.extra_args,
            params.repetition_detection is not None,
            getattr(params, "thinking_token_budget", None) is not None,
        )
    )
    return Sampling(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        repetition_penalty=params.repetition_penalty,
        max_tokens=params.max_tokens,
        seed=params.seed,
        constrained=constrained,
    )
