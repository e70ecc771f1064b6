"""`DELETE /v1/users/{user}` and its receipts (admin); the keys of sealed events for the learner."""

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency

from thumbwheel import internal, routes
from thumbwheel.types import Erasure, ErasureList
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.erasure.service import ErasureService
from thumbwheel_service.http import AnyRequest, PathId, answer, decode, read_body, typed
from thumbwheel_service.openapi import documented

_wanted = msgspec.msgpack.Decoder(internal.KeysWanted)
_encoder = msgspec.msgpack.Encoder()


@delete(
    typed(routes.USER),
    status_code=200,
    tags=["privacy"],
    operation_class=documented(answers={200: Erasure}, errors=(400, 404)),
)
async def erase_user(
    request: AnyRequest, erasure_service: NamedDependency[ErasureService], user: PathId
) -> Response[bytes]:
    """Forget a user: chats, feedback, what others said of those chats, and every copy of it anywhere.

    Rows are deleted and the key is destroyed when this is answered; the receipt says when the learner has followed,
    and which policy versions had been trained on it.
    """
    return answer(await erasure_service.erase_user(caller(request).tenant, user))


@delete(
    typed(routes.CONVERSATION),
    status_code=200,
    tags=["privacy"],
    operation_class=documented(answers={200: Erasure}, errors=(400, 404, 409)),
)
async def erase_conversation(
    request: AnyRequest, erasure_service: NamedDependency[ErasureService], conversation_id: PathId
) -> Response[bytes]:
    """Forget a conversation in which nobody has a name; one that has users is a 409."""
    return answer(await erasure_service.erase_conversation(caller(request).tenant, conversation_id))


@get(routes.ERASURES, tags=["privacy"], operation_class=documented(answers={200: ErasureList}))
async def list_erasures(request: AnyRequest, erasure_service: NamedDependency[ErasureService]) -> Response[bytes]:
    """The receipts of the newest 200 erasures."""
    return answer(await erasure_service.list(caller(request).tenant))


@get(typed(routes.ERASURE), tags=["privacy"], operation_class=documented(answers={200: Erasure}, errors=(400, 404)))
async def get_erasure(
    request: AnyRequest, erasure_service: NamedDependency[ErasureService], erasure_id: PathId
) -> Response[bytes]:
    """How far an erasure has come."""
    return answer(await erasure_service.get(caller(request).tenant, erasure_id))


@post("/internal/keys", status_code=200, include_in_schema=False)
async def read_keys(request: AnyRequest, erasure_service: NamedDependency[ErasureService]) -> Response[bytes]:
    """The keys of sealed events, as far as they were not destroyed."""
    wanted = decode(_wanted, await read_body(request, media_type=internal.MSGPACK))
    keys = await erasure_service.keys(wanted.ids)
    return Response(_encoder.encode(keys), status_code=200, media_type=internal.MSGPACK)


HANDLERS = [erase_user, erase_conversation, list_erasures, get_erasure]
"""Behind the admin key."""
INTERNAL_HANDLERS = [read_keys]
"""Behind the admin key, for the learner."""
