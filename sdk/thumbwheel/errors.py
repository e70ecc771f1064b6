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
├── StreamBroken                  a stream ended before `[DONE]`
├── bus.BusError                  BusUnavailable, OffsetOutOfRange
└── artifact.ArtifactError        see thumbwheel.artifact
"""

from typing import Any


class ThumbwheelError(Exception):
    """Root of everything the SDK raises on purpose."""


class ConfigurationError(ThumbwheelError):
    """A setting or an argument is missing or wrong; the message says how to mend it."""


class ConnectionFailed(ThumbwheelError):
    """The service could not be reached."""


class TimedOut(ConnectionFailed):
    """The service did not answer in time."""


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
