"""When to send a request again, and how long to wait first: pure decisions that both clients share."""

import random
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from thumbwheel.calls import Call
from thumbwheel.errors import ApiError, ConnectionFailed, ThumbwheelError, TimedOut, api_error
from thumbwheel.routes import IN_FLIGHT_CODE

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PERHAPS_WORKING = (httpx.ReadTimeout, httpx.WriteTimeout)
_WORTH_IT = frozenset({408, 429})


class Backoff(Struct, frozen=True, kw_only=True):
    """Exponential backoff with jitter, in seconds; a longer `Retry-After` than `patience_s` is left to the caller."""

    first_s: float = 0.5
    cap_s: float = 8.0
    patience_s: float = 60.0

    def delay(self, attempt: int, asked: float | None, chance: float | None = None) -> float | None:
        """Seconds before attempt number `attempt` + 1 (the first retry is 1), or None to give up.

        `chance` in [0, 1) is the jitter; drawn when absent. What the service asked for is waited in full.
        """
        if asked is not None and asked > self.patience_s:
            return None
        spread = random.random() if chance is None else chance
        own = min(self.cap_s, self.first_s * 2.0 ** (attempt - 1)) * (0.5 + spread / 2)
        return own if asked is None else asked + own * 0.1


def failure_of(error: httpx.HTTPError, base_url: str) -> ThumbwheelError:
    """Our error for a transport's."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"no answer from {base_url} in time ({type(error).__name__})")
    reason = str(error) or type(error).__name__
    return ConnectionFailed(f"cannot reach {base_url}: {reason}")


def error_of(status: int, content: bytes, headers: Mapping[str, str]) -> ApiError:
    """Our error for an answer that is not a success."""
    body: Any
    try:
        body = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        body = content.decode(errors="replace")
    return api_error(status, body, headers)


def worth_retrying(call: Call[Any], error: Exception) -> bool:
    """Whether another attempt may succeed without applying the request twice.

    A request that never left, or one that was refused as a whole, may always be sent again. After a silence only what
    is repeatable is: the service may still be at work on the first.
    """
    if isinstance(error, httpx.HTTPError):
        if isinstance(error, _NOT_SENT):
            return True
        return isinstance(error, httpx.TransportError) and (call.repeatable or not isinstance(error, _PERHAPS_WORKING))
    if isinstance(error, ApiError):
        if error.status == 409:
            return error.code == IN_FLIGHT_CODE
        return error.status in _WORTH_IT or error.status >= 500
    return False


def next_delay(call: Call[Any], error: Exception, attempt: int, max_retries: int, backoff: Backoff) -> float | None:
    """Seconds until the next attempt after `attempt` (from 1) failed with `error`, or None to give up."""
    if attempt > max_retries or not worth_retrying(call, error):
        return None
    return backoff.delay(attempt, error.retry_after if isinstance(error, ApiError) else None)
