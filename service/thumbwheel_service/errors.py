"""The service's error tree; `http.py` turns it into HTTP in one place.

    ServiceError
    ├── BadInput      400   the caller's body or parameter; `field` names it
    ├── Unauthorized  401
    ├── Forbidden     403
    ├── Missing       404
    ├── Conflicting   409
    ├── Gone          410
    ├── TooLarge      413
    ├── Unprocessable 422
    ├── TooMany       429   `retry_after` seconds
    └── Unavailable   503   nothing was acknowledged; try again

Each noun's own errors derive from one of these and live beside the code that raises them.
"""


class ServiceError(Exception):
    """Root; `code` is a stable machine-readable word, `field` the JSON path of the offending value."""

    status = 500
    title = "Internal error"
    code = "internal_error"

    def __init__(self, detail: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        if code is not None:
            self.code = code


class BadInput(ServiceError):
    """The caller sent something malformed."""

    status, title, code = 400, "Bad request", "invalid_request"


class Unauthorized(ServiceError):
    """No valid key."""

    status, title, code = 401, "Unauthorized", "unauthorized"


class Forbidden(ServiceError):
    """A valid caller who may not do this."""

    status, title, code = 403, "Forbidden", "forbidden"


class Missing(ServiceError):
    """No such thing."""

    status, title, code = 404, "Not found", "not_found"


class Conflicting(ServiceError):
    """The state does not allow it."""

    status, title, code = 409, "Conflict", "conflict"


class Gone(ServiceError):
    """It was there once."""

    status, title, code = 410, "Gone", "gone"


class TooLarge(ServiceError):
    """The body is over the limit."""

    status, title, code = 413, "Payload too large", "payload_too_large"


class Unprocessable(ServiceError):
    """Well-formed, and contradicts what was sent before."""

    status, title, code = 422, "Unprocessable", "unprocessable"


class TooMany(ServiceError):
    """Over a rate or a queue limit."""

    status, title, code = 429, "Too many requests", "rate_limited"

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """A part the answer depends on is down; nothing was acknowledged."""

    status, title, code = 503, "Unavailable", "unavailable"
