"""The one place where errors become HTTP (problem+json, or OpenAI's error object for chat), and bodies are read."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar, cast

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import PathParameter, QueryParameter

from thumbwheel import routes
from thumbwheel.errors import ThumbwheelError
from thumbwheel.types import Problem
from thumbwheel_service.errors import BadInput, ServiceError, TooLarge, TooMany, Unavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)
IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:@+\-]*$(?!\n)"
PROBLEM_JSON = "application/problem+json"
JSON = "application/json"
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
_encoder = msgspec.json.Encoder()


class WrongMediaType(BadInput):
    """The body is not declared as what the route reads; this also keeps simple cross-site forms out."""

    status, title, code = 415, "Unsupported media type", "unsupported_media_type"


class BodyCutOff(BadInput):
    """The client went away in the middle of its request; nobody reads the answer, but the counts say it."""

    code = "body_cut_off"


class OpenAIErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenAI's clients read an error from."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    """The error body of the chat routes."""

    error: OpenAIErrorBody


AnyRequest = Request[Any, Any, Any]
PathId = Annotated[str, PathParameter(min_length=1, max_length=128, pattern=IDENTIFIER_PATTERN)]
QueryId = Annotated[str | None, QueryParameter(min_length=1, max_length=128, pattern=IDENTIFIER_PATTERN)]
Cursor = Annotated[str | None, QueryParameter(max_length=200, description="`next` of the page before")]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="items per page")]


def typed(path: str) -> str:
    """A path of `thumbwheel.routes` as Litestar spells it."""
    return path.replace("}", ":str}")


async def read_body(request: AnyRequest, *, media_type: str = JSON) -> bytes:
    """The raw body, if it is declared as `media_type`.

    Raises `WrongMediaType`, 413 over the route's limit, and `BodyCutOff`.
    """
    declared = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if declared != media_type:
        raise WrongMediaType(f"send the body as {media_type}, not {declared or 'without a content type'}")
    try:
        return await request.body()
    except InternalServerException as error:  # what Litestar makes of a client that goes away
        raise BodyCutOff("the connection closed before the body was complete") from error


async def read_json(request: AnyRequest, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the body strictly; raises `BadInput` naming the field."""
    return decode(decoder, await read_body(request))


def decode(decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Decode strictly; raises `BadInput` whose `field` is the JSON path of what is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, path = _split(str(error))
        raise BadInput(message, field=path, code="invalid_value") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"the body does not parse: {error}", code="malformed_body") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise BadInput("the body does not parse: nested too deeply, or not UTF-8", code="malformed_body") from error


_PATH = re.compile(r"^(?P<message>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"(?:unknown|required) field `([^`]*)`")


def _split(message: str) -> tuple[str, str | None]:
    """msgspec's message and the JSON path in it; a missing or unknown field is part of the path."""
    match = _PATH.match(message)
    path = match["path"] if match else None
    text = match["message"] if match else message
    if named := _NAMED.search(text):
        path = f"{path}.{named[1]}" if path else named[1]
    return text, path or None


def answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A JSON response of a struct (or of bytes that are JSON already)."""
    content = body if isinstance(body, bytes) else _encoder.encode(body)
    return Response(content, status_code=status, media_type=JSON, headers=headers)


def to_problem(error: Exception) -> Problem:
    """Any exception as problem details; what is not ours says nothing of its inside."""
    if isinstance(error, ServiceError):
        return Problem(title=error.title, status=error.status, detail=error.detail, code=error.code, field=error.field)
    if isinstance(error, ValidationException):
        return _bad_parameter(error)
    if isinstance(error, RequestEntityTooLarge):
        return Problem(
            title=TooLarge.title, status=413, detail="the body is over this route's limit", code=TooLarge.code
        )
    if isinstance(error, HTTPException):
        detail = str(error.detail)
        return Problem(title=_title(error.status_code), status=error.status_code, detail=detail, code=_code(error))
    if isinstance(error, ThumbwheelError):
        return Problem(title=Unavailable.title, status=503, detail=str(error), code=Unavailable.code)
    return Problem(title="Internal error", status=500, detail="the service failed; see its log", code="internal_error")


def _bad_parameter(error: ValidationException) -> Problem:
    """Litestar's complaint about a path or query parameter, naming the first one."""
    extra = cast(list[dict[str, Any]], error.extra) if isinstance(error.extra, list) else []
    first = extra[0] if extra else dict[str, Any]()
    return Problem(
        title=BadInput.title,
        status=400,
        detail=str(first.get("message", error.detail)),
        code="invalid_parameter",
        field=first.get("key"),
    )


def _title(status: int) -> str:
    return HTTPStatus(status).phrase.capitalize()


def _code(error: HTTPException) -> str:
    return _title(error.status_code).lower().replace(" ", "_")


def error_response(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Translate for the route that was asked: OpenAI's error object on chat and models, problem+json elsewhere."""
    problem = to_problem(error)
    if problem.status == 500:
        _log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, TooMany):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    elif problem.status == 503:
        headers["retry-after"] = "1"
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if speaks_openai(request.scope["path"]):
        return Response(openai_error(problem), status_code=problem.status, media_type=JSON, headers=headers)
    return Response(_encoder.encode(problem), status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def speaks_openai(path: str) -> bool:
    """Whether clients of this path expect OpenAI's error object."""
    return path == routes.CHAT or path == routes.MODELS or path.startswith(routes.MODELS + "/")


def openai_error(problem: Problem) -> bytes:
    """OpenAI's error object with the same content."""
    kind = _OPENAI_TYPES.get(problem.status, "server_error")
    body = OpenAIErrorBody(message=problem.detail, type=kind, param=problem.field, code=problem.code)
    return _encoder.encode(OpenAIError(error=body))


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[AnyRequest, Exception], Response[bytes]]] = {
    Exception: error_response
}
