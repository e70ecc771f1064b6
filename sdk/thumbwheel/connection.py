"""What both clients know of their service: where it is, who is asking, how patient to be."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import httpx
from msgspec import Struct

from thumbwheel.calls import Call
from thumbwheel.errors import ConfigurationError
from thumbwheel.retry import Backoff

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "THUMBWHEEL_URL"
KEY_VARIABLE = "THUMBWHEEL_API_KEY"
LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=4.0)
"""Idle connections are dropped before a server does it (often after 5 s), so that no request meets a closing one."""

answered: ContextVar[httpx.Response | None] = ContextVar("answered", default=None)
"""The last HTTP answer in this context, for `with_raw_response`."""


class Connection(Struct, frozen=True, kw_only=True):
    """Everything about how to call, apart from the sockets."""

    base_url: str
    api_key: str | None
    timeout: float | httpx.Timeout
    """Seconds between two bytes, or httpx's finer form; connecting never takes longer than 5 s of it."""
    max_retries: int
    backoff: Backoff
    headers: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether the service is on this machine, where no proxy of the environment belongs in between."""
        return is_local(self.base_url)

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """The HTTP request of a call."""
        headers = {"user-agent": "thumbwheel-python", **self.headers, **call.headers}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        timeout = self.timeout
        if not isinstance(timeout, httpx.Timeout):
            timeout = httpx.Timeout(timeout, connect=min(5.0, timeout))
        return http.build_request(
            call.method,
            self.base_url + call.path,
            params=dict(call.query),
            content=call.content,
            headers=headers,
            timeout=timeout,
        )


def is_local(url: str) -> bool:
    """Whether a URL names this machine."""
    try:
        return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
    except httpx.InvalidURL:
        return False


def connection(
    *,
    base_url: str | None,
    api_key: str | None,
    timeout: float | httpx.Timeout,
    max_retries: int,
    backoff: Backoff | None,
    headers: Mapping[str, str] | None,
) -> Connection:
    """Arguments over environment over defaults; raises `ConfigurationError`."""
    url = (base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    key = api_key or os.environ.get(KEY_VARIABLE) or None
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"base_url {url!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError(f"base_url {url!r} must look like {DEFAULT_URL} (argument or {URL_VARIABLE})")
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(f"the API key has characters that no header can carry (argument or {KEY_VARIABLE})")
    if max_retries < 0:
        raise ConfigurationError(f"max_retries must not be negative, got {max_retries}")
    return Connection(
        base_url=url,
        api_key=key,
        timeout=timeout,
        max_retries=max_retries,
        backoff=backoff or Backoff(),
        headers=dict(headers or {}),
    )
