"""The asyncio client: the same surface as `Client`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import httpx
import msgspec

from thumbwheel import calls, types
from thumbwheel.async_resources import (
    AsyncErasuresResource,
    AsyncFeedbackResource,
    AsyncLearnerResource,
    AsyncPoliciesResource,
    AsyncReviewsResource,
    AsyncTurnsResource,
)
from thumbwheel.calls import Call
from thumbwheel.chat import ChatChunk, ChatResult, StreamState
from thumbwheel.connection import LIMITS, Connection, answered, connection
from thumbwheel.errors import ApiError, StreamBroken, TimedOut
from thumbwheel.raw import AsyncRawClient
from thumbwheel.retry import Backoff, error_of, failure_of, next_delay

T = TypeVar("T")


class AsyncClient:
    """Chat with a Thumbwheel service and give feedback on what it says.

        async with AsyncClient() as client:
            answer = await client.chat("Where is my order?", user="ann")
            await client.feedback.thumb(answer.completion_id, "down", user="ann", reasons=["incomplete"])

    Where and who come from the arguments, else from THUMBWHEEL_URL (default http://127.0.0.1:8000) and
    THUMBWHEEL_API_KEY. Failed attempts are repeated up to `max_retries` times when that cannot apply anything twice.
    Safe to share between tasks of one event loop. Raises the errors drawn in `thumbwheel.errors`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = 120.0,
        max_retries: int = 2,
        backoff: Backoff | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        to = connection(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            headers=headers,
        )
        self._wire(to, httpx.AsyncClient(limits=LIMITS, transport=transport, trust_env=not to.is_local))

    def _wire(self, to: Connection, http: httpx.AsyncClient) -> None:
        self._connection = to
        self._http = http
        self._owns_http = True
        self.feedback = AsyncFeedbackResource(self)
        self.turns = AsyncTurnsResource(self)
        self.reviews = AsyncReviewsResource(self)
        self.policies = AsyncPoliciesResource(self)
        self.erasures = AsyncErasuresResource(self)
        self.learner = AsyncLearnerResource(self)

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._connection.base_url

    def with_options(
        self,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        backoff: Backoff | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "AsyncClient":
        """The same client with other options, over the same sockets (closing it leaves them open)."""
        given = {"api_key": api_key, "timeout": timeout, "max_retries": max_retries, "backoff": backoff}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        changes["headers"] = {**self._connection.headers, **(headers or {})}
        copy = AsyncClient.__new__(AsyncClient)
        copy._wire(msgspec.structs.replace(self._connection, **changes), self._http)
        copy._owns_http = False
        return copy

    @property
    def with_raw_response(self) -> AsyncRawClient:
        """The same methods, returning a `RawResponse` with status, headers and the parsed result."""
        return AsyncRawClient(self)

    @overload
    async def chat(
        self,
        messages: str | Sequence[types.Message],
        *,
        stream: Literal[False] = False,
        model: str | None = None,
        conversation_id: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **params: Any,
    ) -> ChatResult: ...

    @overload
    async def chat(
        self,
        messages: str | Sequence[types.Message],
        *,
        stream: Literal[True],
        model: str | None = None,
        conversation_id: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **params: Any,
    ) -> "AsyncChatStream": ...

    async def chat(
        self,
        messages: str | Sequence[types.Message],
        *,
        stream: bool = False,
        model: str | None = None,
        conversation_id: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **params: Any,
    ) -> "ChatResult | AsyncChatStream":
        """Ask; `params` are OpenAI's (tools, response_format, n, stop, seed, store, metadata, …) and vLLM's.

        Without `model` the live policy answers. With `stream=True` the pieces arrive as they are made.
        """
        call = calls.chat(
            messages,
            conversation_id=conversation_id,
            model=model,
            user=user,
            temperature=temperature,
            max_tokens=max_tokens,
            stream=stream or None,
            **params,
        )
        return AsyncChatStream(await self._open(call, stream=True), self.base_url) if stream else await self.send(call)

    async def status(self) -> types.ServiceStatus:
        """One look at service and learner."""
        return await self.send(calls.status())

    async def send(self, call: Call[T], /) -> T:
        """Send any call, with retries; the methods above are built on it."""
        response = await self._open(call, stream=False)
        return call.read(response.content, response.headers)

    async def _open(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        attempt = 1
        while True:
            try:
                response = await self._http.send(self._connection.request(self._http, call), stream=stream)
                if response.is_success:
                    answered.set(response)
                    return response
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                raise error_of(response.status_code, response.content, response.headers)
            except (httpx.HTTPError, ApiError) as error:
                wait = next_delay(call, error, attempt, self._connection.max_retries, self._connection.backoff)
                if wait is None:
                    if isinstance(error, ApiError):
                        raise
                    raise failure_of(error, self.base_url) from error
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Close the sockets; safe to call twice."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncChatStream:
    """A streamed answer: iterate over its chunks; its ids are known before the first one.

    Raises `StreamBroken` when it ends before `[DONE]`, `ApiError` when the service reports a failure in it. Leaving
    early through `close` or the context manager tells the service to stop.
    """

    def __init__(self, response: httpx.Response, base_url: str) -> None:
        self._response = response
        self._base_url = base_url
        self._state = StreamState(response.headers)
        self._chunks = self._read()

    @property
    def completion_id(self) -> str | None:
        """The id feedback is given on; None only before the first chunk of a service that sends no header."""
        return self._state.stamp and self._state.stamp.completion_id

    @property
    def policy_version(self) -> str | None:
        """Which policy answers."""
        return self._state.stamp and self._state.stamp.policy_version

    @property
    def conversation_id(self) -> str | None:
        """The conversation it belongs to."""
        return self._state.stamp and self._state.stamp.conversation_id

    @property
    def text(self) -> str:
        """The first choice so far."""
        return self._state.text

    async def result(self) -> ChatResult:
        """Read to the end and return the whole answer."""
        async for _ in self:
            pass
        return self._state.result()

    async def _read(self) -> AsyncIterator[ChatChunk]:
        try:
            async for received in self._response.aiter_bytes():
                for chunk in self._state.feed(received):
                    yield chunk
        except httpx.TimeoutException as error:
            if not self._state.done:
                raise TimedOut(f"the stream from {self._base_url} fell silent") from error
        except httpx.HTTPError as error:
            if not self._state.done:
                raise StreamBroken(f"the stream broke before [DONE]: {error or type(error).__name__}") from error
        finally:
            await self._response.aclose()
        self._state.check_ended()

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        return await anext(self._chunks)

    async def close(self) -> None:
        """Stop reading; safe to call twice."""
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
