"""A streamed chat as an ASGI response: chunks as they come, and a client that leaves is noticed elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

EVENT_STREAM = "text/event-stream; charset=utf-8"


class EventStream(Response[bytes]):
    """Server-sent events."""

    def __init__(self, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        headers = {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(b"", media_type=EVENT_STREAM, status_code=200, headers=headers)
        self._chunks = chunks

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> ASGIResponse:
        """Litestar's hook: a response that sends our chunks instead of a body."""
        options["status_code"] = 200
        given: dict[str, str] = options.pop("headers", None) or {}
        options["media_type"] = EVENT_STREAM
        options.pop("type_encoders", None)
        return _Sending(self._chunks, headers={**given, **self.headers}, **options)


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, chunks: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(body=b"", **options)
        self._chunks = chunks

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Every chunk as it comes."""
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
