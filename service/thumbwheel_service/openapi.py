"""The OpenAPI document of routes that decode their bodies themselves: schemas straight from the wire types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

from thumbwheel.types import Problem
from thumbwheel_service.errors import (
    BadInput,
    Conflicting,
    Forbidden,
    Gone,
    Missing,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from thumbwheel_service.http import JSON, PROBLEM_JSON, OpenAIError, WrongMediaType

_TEMPLATE = "#/components/schemas/{name}"
_schemas: dict[str, Any] = {}
_MEANINGS = {
    kind.status: kind.title
    for kind in (
        BadInput,
        Unauthorized,
        Forbidden,
        Missing,
        Conflicting,
        Gone,
        TooLarge,
        WrongMediaType,
        Unprocessable,
        TooMany,
        Unavailable,
    )
}
EVERYWHERE = (401, 403, 429, 500, 503)
"""Statuses any guarded route may answer."""
WITH_BODY = (400, 413, 415)
"""Statuses any route with a body may answer, on top."""


@dataclass
class RawSchema(Schema):
    """A schema that is JSON Schema already."""

    raw: Any = None

    def to_schema(self) -> dict[str, Any]:
        """The schema as it is."""
        return dict(self.raw)


def schema_of(wire_type: Any) -> RawSchema:
    """JSON Schema of a wire type; the structs it names join the document's components."""
    (schema,), components = msgspec.json.schema_components([wire_type], ref_template=_TEMPLATE)
    _schemas.update(components)
    return RawSchema(raw=schema)


def add_components(document: OpenAPI) -> None:
    """Add every struct named so far to the document; Litestar collects only what it decodes itself."""
    known = document.components.schemas or {}
    document.components.schemas = known | {name: RawSchema(raw=schema) for name, schema in sorted(_schemas.items())}


def documented(
    *,
    body: Any = None,
    answers: Mapping[int, Any],
    errors: Sequence[int] = (),
    idempotent: bool = False,
    media_type: str = JSON,
    openai_errors: bool = False,
    streams: bool = False,
) -> type[Operation]:
    """An operation that documents the body it reads, the answers it gives and the errors it may end with.

    With `streams` the answer may also be server-sent events.
    """
    statuses = {*errors, *EVERYWHERE, *(WITH_BODY if body is not None else ()), *((400, 422) if idempotent else ())}
    responses = {str(status): _answer(wire_type, media_type, idempotent) for status, wire_type in answers.items()}
    if streams:
        for response in responses.values():
            response.content = (response.content or {}) | {EVENT_STREAM: _EVENTS}
    responses |= {str(status): _error(status, openai_errors) for status in sorted(statuses)}
    request_body = None
    if body is not None:
        content = {media_type: OpenAPIMediaType(schema=schema_of(body))}
        request_body = RequestBody(content=content, required=True)

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.request_body = request_body
            self.responses = responses  # pyright: ignore[reportAttributeAccessIssue] - invariant dict of subclasses
            given = [_never_null(one) if isinstance(one, Parameter) else one for one in self.parameters or []]
            self.parameters = [*given, _IDEMPOTENCY_KEY] if idempotent else given or None

    return Documented


def _never_null(parameter: Parameter) -> Parameter:
    """A parameter is there or it is not; what may be left out is no null, as Litestar has it."""
    schema = parameter.schema
    branches = schema.one_of if isinstance(schema, Schema) else None
    kept = [one for one in branches or () if not (isinstance(one, Schema) and one.type == OpenAPIType.NULL)]
    if not isinstance(schema, Schema) or len(kept) != 1 or not isinstance(kept[0], Schema):
        return parameter
    return replace(parameter, schema=replace(schema, one_of=None, type=kept[0].type, items=kept[0].items))


EVENT_STREAM = "text/event-stream"
_EVENTS = OpenAPIMediaType(schema=RawSchema(raw={"description": "`data: {chunk}`, last `data: [DONE]`"}))
_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    description=(
        "Send the same key with a retry: the stored answer comes back and nothing is applied again. "
        "Another request under the same key is answered 422. Keys are forgotten after 24 hours."
    ),
    schema=RawSchema(raw={"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}),
)
_REPLAYED = OpenAPIHeader(
    description="`true` when the answer is that of an earlier request under the same Idempotency-Key.",
    schema=RawSchema(raw={"type": "string", "enum": ["true"]}),
)
_EXPIRY = OpenAPIHeader(
    description="Seconds for which the Idempotency-Key is remembered.",
    schema=RawSchema(raw={"type": "string"}),
)


def _answer(wire_type: Any, media_type: str, idempotent: bool) -> OpenAPIResponse:
    headers = {"idempotency-replayed": _REPLAYED, "idempotency-key-expiry": _EXPIRY} if idempotent else None
    content = None if wire_type is None else {media_type: OpenAPIMediaType(schema=schema_of(wire_type))}
    return OpenAPIResponse(description="Done", content=content, headers=headers)  # pyright: ignore[reportArgumentType]


def _error(status: int, openai: bool) -> OpenAPIResponse:
    kind, media_type = (OpenAIError, JSON) if openai else (Problem, PROBLEM_JSON)
    meaning = _MEANINGS.get(status, "Internal error")
    return OpenAPIResponse(description=meaning, content={media_type: OpenAPIMediaType(schema=schema_of(kind))})
