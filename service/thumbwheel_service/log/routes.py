"""`/internal/log`: the embedded bus for the learner, always behind the admin key."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from thumbwheel import internal
from thumbwheel_service.http import AnyRequest, decode, read_body
from thumbwheel_service.log.service import LogService
from thumbwheel_service.openapi import documented

_append = msgspec.msgpack.Decoder(internal.LogAppend)
_read = msgspec.msgpack.Decoder(internal.LogRead)
_encoder = msgspec.msgpack.Encoder()
_ERRORS = (404, 410)


def msgpack(body: msgspec.Struct) -> Response[bytes]:
    """A MessagePack response of a struct."""
    return Response(_encoder.encode(body), status_code=200, media_type=internal.MSGPACK)


@post(
    "/internal/log",
    status_code=200,
    tags=["internal"],
    operation_class=documented(
        body=internal.LogAppend, answers={200: internal.LogAppended}, media_type=internal.MSGPACK
    ),
)
async def append_log(request: AnyRequest, log_service: NamedDependency[LogService]) -> Response[bytes]:
    """Append records in one transaction; event ids that are there already are skipped."""
    body = decode(_append, await read_body(request, media_type=internal.MSGPACK))
    return msgpack(internal.LogAppended(await log_service.append(body.records)))


@post(
    "/internal/log/read",
    status_code=200,
    tags=["internal"],
    operation_class=documented(
        body=internal.LogRead, answers={200: internal.LogPages}, errors=_ERRORS, media_type=internal.MSGPACK
    ),
)
async def read_log(request: AnyRequest, log_service: NamedDependency[LogService]) -> Response[bytes]:
    """Read several partitions, waiting up to `wait_ms` for the first new record."""
    asked = decode(_read, await read_body(request, media_type=internal.MSGPACK))
    pages = await log_service.read(asked.positions, limit=asked.limit, wait_ms=asked.wait_ms)
    return msgpack(internal.LogPages(pages))


@get(
    "/internal/log/{topic:str}",
    tags=["internal"],
    operation_class=documented(answers={200: internal.LogSpans}, errors=(404,), media_type=internal.MSGPACK),
)
async def describe_topic(log_service: NamedDependency[LogService], topic: FromPath[str]) -> Response[bytes]:
    """Where the partitions of a topic begin and end now."""
    return msgpack(internal.LogSpans(await log_service.spans(topic)))


@get(
    "/internal/log/{topic:str}/{partition:int}",
    tags=["internal"],
    operation_class=documented(answers={200: internal.LogPage}, errors=(400, *_ERRORS), media_type=internal.MSGPACK),
)
async def read_partition(
    log_service: NamedDependency[LogService],
    topic: FromPath[str],
    partition: FromPath[int],
    offset: Annotated[int, QueryParameter(ge=0, le=2**62)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=4096)] = 500,
    wait_ms: Annotated[int, QueryParameter(ge=0, le=30_000)] = 0,
) -> Response[bytes]:
    """The same for one partition."""
    position = internal.LogPosition(topic, partition, offset)
    (page,) = await log_service.read([position], limit=limit, wait_ms=wait_ms)
    return msgpack(page)


HANDLERS = [append_log, read_log, describe_topic, read_partition]
