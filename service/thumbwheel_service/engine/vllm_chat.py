"""One chat through vLLM's own OpenAI serving layer."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

import msgspec
from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
from vllm.exceptions import VLLMError
from vllm.v1.engine.exceptions import EngineDeadError

from thumbwheel.types import Sampling
from thumbwheel_service.engine.protocol import ChatRefused, ChatRequest, EngineDown, Trace
from thumbwheel_service.engine.vllm_recorder import RecordingLLM, Watch

ID_PREFIX = "chatcmpl-"
"""vLLM puts it in front of every chat's request id."""
MAX_CHOICES = 128
_ERROR_EVENT = 'data: {"error"'


def parse_chat(body: dict[str, Any]) -> ChatRequest:
    """Validate with vLLM's own request model; what only an operator may choose is reset.

    Raises `ChatRefused` with the field of the first thing wrong.
    """
    try:
        native = ChatCompletionRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise ChatRefused(first["msg"], status=400, title="BadRequestError", field=field) from error
    except VLLMError as error:
        raise _refused(create_error_response(error).error) from error
    n = native.n or 1
    if not 1 <= n <= MAX_CHOICES:
        raise ChatRefused(f"n must lie between 1 and {MAX_CHOICES}", status=400, title="BadRequestError", field="n")
    if not native.messages:
        raise ChatRefused("messages must not be empty", status=400, title="BadRequestError", field="messages")
    native.priority = 0
    native.kv_transfer_params = None
    native.ec_transfer_params = None
    native.session_id = None
    return ChatRequest(native=native, stream=bool(native.stream), n=n)


class VllmChat:
    """Implements `ChatRun`: the serving layer makes the answer, the recorder fills the trace."""

    def __init__(
        self,
        serving: OpenAIServingChat,
        llm: RecordingLLM,
        request: ChatRequest,
        *,
        completion_id: str,
        policy: str,
        model: str,
        on_start: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.trace = Trace()
        self._serving = serving
        self._llm = llm
        self._id = completion_id
        self._native: ChatCompletionRequest = request.native
        self._native.request_id = completion_id.removeprefix(ID_PREFIX)
        self._native.model = policy
        self._model = model
        self._internal_name = f'"model":{_json(policy)}'
        self._public_name = f'"model":{_json(model)}'
        self._on_start = on_start
        self._on_end = on_end
        self._aborted = False
        self._aborting: asyncio.Task[None] | None = None
        llm.watch(completion_id, Watch(self.trace, self._started))
        if self._native.use_beam_search:
            self._begin_beam_search()

    def _started(self) -> None:
        if self._aborted:
            self._aborting = asyncio.get_running_loop().create_task(self._llm.abort(self._id))
        self._on_start()

    def _begin_beam_search(self) -> None:
        """Beams are many engine requests under other ids, and no sample of the policy."""
        native = self._native
        self.trace.exact = False
        self.trace.sampling = Sampling(
            temperature=native.temperature or 0.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            max_tokens=native.max_completion_tokens,
            constrained=True,
        )
        self._on_start()

    async def answer(self) -> dict[str, Any]:
        """The whole answer as an OpenAI body; raises `ChatRefused`, `EngineDown`."""
        try:
            result = await self._serve()
            if isinstance(result, AsyncGenerator):
                raise TypeError("a streaming request was asked for a whole answer")
            result.model = self._model
            return cast(dict[str, Any], result.model_dump())
        finally:
            self._end()

    async def events(self) -> AsyncGenerator[str, None]:
        """Server-sent events, `[DONE]` last; an error before the first token is raised instead."""
        try:
            result = await self._serve()
            if not isinstance(result, AsyncGenerator):
                raise TypeError("a request for a whole answer was asked to stream")
            first = True
            async with aclosing(cast(AsyncGenerator[str, None], result)) as events:
                async for event in events:
                    if first and event.startswith(_ERROR_EVENT):
                        raise _refused(_decode_error(event))
                    first = False
                    yield event.replace(self._internal_name, self._public_name, 1)
        finally:
            self._end()

    async def abort(self) -> None:
        """Stop sampling; the answer then ends with finish reason `abort` and what was sampled so far."""
        self._aborted = True
        await self._llm.abort(self._id)

    async def _serve(self) -> Any:
        try:
            result = await self._serving.create_chat_completion(self._native, None)
        except EngineDeadError as error:
            raise EngineDown("the engine has died") from error
        except Exception as error:  # the serving layer lets anything from jinja to msgspec through
            raise _refused(create_error_response(error).error) from error
        if isinstance(result, ErrorResponse):
            raise _refused(result.error)
        return result

    def _end(self) -> None:
        self._llm.unwatch(self._id)
        self._on_end()


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _decode_error(event: str) -> ErrorInfo:
    return ErrorInfo.model_validate(msgspec.json.decode(event.removeprefix("data: "))["error"])


def _refused(error: ErrorInfo) -> Exception:
    if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
        return EngineDown(error.message)
    return ChatRefused(error.message, status=error.code, title=error.type, field=error.param)
