"""Every error the SDK raises.

ThumbwheelError
├── ConfigurationError            a setting or an argument is missing or wrong
├── ConnectionFailed              no answer: refused, reset, DNS
│   └── TimedOut                  no answer in time
├── ApiError                      the service answered with an error status
│   ├── BadRequest          400
│   ├── Unauthorized        401
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── PayloadTooLarge     413
│   ├── UnprocessableEntity 422
│   ├── RateLimited         429   `retry_after` in seconds
│   └── ServerError         5xx
├── UnexpectedAnswer              a success whose body this SDK does not understand
├── StreamBroken                  a stream ended before `[DONE]`
├── bus.BusError                  BusUnavailable, OffsetOutOfRange
├── dead_letters.NotReplayable    a dead letter that cannot go back to its topic
└── artifact.ArtifactError        see thumbwheel.artifact
"""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast


class ThumbwheelError(Exception):
    """Root of everything the SDK raises on purpose."""


class ConfigurationError(ThumbwheelError):
    """A setting or an argument is missing or wrong; the message says how to mend it."""


class ConnectionFailed(ThumbwheelError):
    """The service could not be reached."""


class TimedOut(ConnectionFailed):
    """The service did not answer in time."""


class UnexpectedAnswer(ThumbwheelError):
    """A success status with a body that this version of the SDK does not understand; is that really a Thumbwheel?"""


class StreamBroken(ThumbwheelError):
    """A streamed answer ended before its closing `[DONE]`."""


class ApiError(ThumbwheelError):
    """The service answered with an error status."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        field: str | None = None,
        request_id: str | None = None,
        body: Any = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after


class BadRequest(ApiError):
    """400: the body or a parameter is malformed."""


class Unauthorized(ApiError):
    """401: no key, or an unknown, expired or revoked one."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class NotFound(ApiError):
    """404: no such completion, policy version or feedback."""


class Conflict(ApiError):
    """409: for instance feedback on a chat with `store: false`."""


class PayloadTooLarge(ApiError):
    """413: the body is over the limit."""


class UnprocessableEntity(ApiError):
    """422: an idempotency key was used again with another body."""


class RateLimited(ApiError):
    """429: come back after `retry_after` seconds."""


class ServerError(ApiError):
    """5xx: the service's fault."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    422: UnprocessableEntity,
    429: RateLimited,
}


def for_status(status: int) -> type[ApiError]:
    """The error class of an HTTP status."""
    return BY_STATUS.get(status, ServerError if status >= 500 else ApiError)


def api_error(status: int, body: Any, headers: Mapping[str, str]) -> ApiError:
    """The error for an answer: understands problem+json, OpenAI's error object, and whatever a proxy may say.

    `body` is the decoded JSON, or the text when it was none.
    """
    said = _mapping(body)
    inner = said.get("error")
    said = _mapping(inner) or said
    message = said.get("detail") or said.get("message") or said.get("title")
    field = said.get("field") or said.get("param")
    if not message:
        message = f"HTTP {status}: {str(inner or body or '').strip()[:200] or 'no details'}"
    elif field and str(field) not in str(message):
        message = f"{message} (field: {field})"
    code = said.get("code") or said.get("type")
    return for_status(status)(
        str(message),
        status=status,
        code=None if code is None else str(code),
        field=None if field is None else str(field),
        request_id=headers.get("x-request-id"),
        body=body,
        retry_after=retry_after(headers.get("retry-after")),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def retry_after(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header (seconds or an HTTP date); None when absent or unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
