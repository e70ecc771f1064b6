"""Query parameters of the routes that read back: filters by id, kind and time, every one checked."""

from typing import Annotated, Literal

import msgspec
from litestar.params import QueryParameter

from thumbwheel.types import Identifier, Kind, Timestamp
from thumbwheel_service.errors import BadInput
from thumbwheel_service.http import AnyRequest

QueryIds = Annotated[list[Identifier] | None, QueryParameter(max_items=50, description="repeat it for several ids")]
Kinds = Annotated[list[Kind] | None, QueryParameter(max_items=8, description="repeat it for several kinds")]
Retracted = Annotated[
    Literal["any", "true", "false"],
    QueryParameter(description="true: only what was taken back; false: only the rest"),
]
RETRACTED = {"any": None, "true": True, "false": False}
Moment = Annotated[
    str | None,
    QueryParameter(
        max_length=40,
        format="date-time",
        description="RFC 3339 with an offset, such as 2026-01-31T12:00:00Z (write a + in a URL as %2B); "
        "`since` is part of the answer, `until` is not",
    ),
]

_GIVEN = {"request", "turn_service", "feedback_service", "review_service"}
"""Arguments of the handlers that come from elsewhere than the query."""


class BadParameter(BadInput):
    """A query parameter that the route does not know, or with a value that makes no sense."""

    code = "invalid_parameter"


def to_ms(moment: str | None, field: str) -> int | None:
    """Milliseconds since 1970; raises `BadParameter` naming `field`."""
    if moment is None:
        return None
    try:
        return round(msgspec.convert(moment, Timestamp).timestamp() * 1000)
    except msgspec.ValidationError as error:
        raise BadParameter("give an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z", field=field) from error


def refuse_unknown_parameters(request: AnyRequest) -> None:
    """A mistyped filter is an error and not every row there is; raises `BadParameter`."""
    known = set(request.route_handler.parsed_fn_signature.parameters)
    for name in request.query_params:
        if name not in known:
            raise BadParameter(f"no such parameter; known are {', '.join(sorted(known - _GIVEN))}", field=name)
