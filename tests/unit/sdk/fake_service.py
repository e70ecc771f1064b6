"""A scripted service behind httpx's transport: answers in turn, and remembers what it was asked."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import msgspec

from thumbwheel.retry import Backoff

Answer = httpx.Response | Exception
AT_ONCE = Backoff(first_s=0.0, cap_s=0.0)
STAMP = {"completion_id": "chatcmpl-1", "policy_version": "p-3", "conversation_id": "conv-9"}
RECORD = {
    "feedback_id": "fb-1",
    "revision": 1,
    "retracted": False,
    "kind": "thumb",
    "created_ms": 1,
    "updated_ms": 1,
    "feedback": {"kind": "thumb", "completion_id": "chatcmpl-1", "value": "up"},
    "completion_id": "chatcmpl-1",
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    "thumbwheel": STAMP,
}


class Scripted(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Gives its answers in turn (the last one again and again); exceptions are raised as the transport's own."""

    def __init__(self, *answers: Answer) -> None:
        self._answers: Sequence[Answer] = answers
        self.requests: list[httpx.Request] = []

    def _next(self, request: httpx.Request) -> httpx.Response:
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._next(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._next(request)

    def body(self, index: int = 0) -> Any:
        return msgspec.json.decode(self.requests[index].content)


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in given pieces, which may end in an exception."""

    def __init__(self, pieces: Sequence[bytes], error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._error:
            raise self._error

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def ok(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def problem(status: int, detail: str = "no", **more: Any) -> httpx.Response:
    headers = {"x-request-id": "req-7"}
    if "retry_after" in more:
        headers["retry-after"] = str(more.pop("retry_after"))
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail, **more}
    return httpx.Response(status, json=body, headers=headers)


def event(body: Any) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def chunk(text: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"id": "chatcmpl-1", "choices": [{"index": index, "delta": delta, **more}]}


def streamed(pieces: Sequence[bytes], error: Exception | None = None, **headers: str) -> httpx.Response:
    given = {"content-type": "text/event-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx.Response(200, headers=given, stream=Pieces(pieces, error))
