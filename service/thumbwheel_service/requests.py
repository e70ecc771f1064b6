"""What every request gets, unknown paths included: an id in the response, a count, a duration."""

import itertools
import re
import secrets
import time

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from thumbwheel_service.auth.rates import HEADERS
from thumbwheel_service.metrics import Metrics

REQUEST_ID = b"x-request-id"
_VALID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")


class RequestStamp:
    """Wraps the whole application, because Litestar's middleware never sees paths that have no route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        identifier = _given_id(scope) or f"{self._process}-{next(self._numbers):x}".encode()
        status = 500

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, identifier), *_rate_headers(scope)]
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        finally:
            route = scope.get("path_template") or "unknown"
            self._metrics.served(route, status, time.perf_counter() - started)


def _given_id(scope: Scope) -> bytes | None:
    """The caller's id when it is a plain token."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            return value if _VALID.fullmatch(value) else None
    return None


def _rate_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What the guard of the route left there, if the key has a budget."""
    return scope["state"].get(HEADERS, []) if "state" in scope else []
