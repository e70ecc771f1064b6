"""`/v1/chat/completions` and `/v1/models`, as OpenAI's clients expect them."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from thumbwheel import routes
from thumbwheel.types import COMPLETION_HEADER, CONVERSATION_HEADER, VERSION_HEADER, ChatStamp
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.chat.extensions import ChatBody
from thumbwheel_service.chat.response import EventStream
from thumbwheel_service.chat.service import ChatService
from thumbwheel_service.http import AnyRequest, answer, read_body
from thumbwheel_service.openapi import documented


@post(
    routes.CHAT,
    tags=["chat"],
    status_code=200,
    operation_class=documented(
        body=ChatBody, answers={200: dict[str, Any]}, errors=(404,), openai_errors=True, streams=True
    ),
)
async def create_chat_completion(request: AnyRequest, chat_service: NamedDependency[ChatService]) -> Response[bytes]:
    """Answer a chat; the body is OpenAI's (and vLLM's), with `metadata`, `store`, `user` and our key `thumbwheel`."""
    raw = await read_body(request)
    turn = chat_service.begin(caller(request).tenant, raw, request.headers)
    turn.watch(request.receive)
    if turn.stream:
        await turn.first()
        return EventStream(turn.chunks(), _headers(turn.stamp))
    return answer(await turn.answer(), headers=_headers(turn.stamp))


@get(
    routes.MODELS,
    tags=["chat"],
    operation_class=documented(answers={200: dict[str, Any]}, openai_errors=True),
)
async def list_models(chat_service: NamedDependency[ChatService]) -> Response[bytes]:
    """The alias of the live policy, and every version that can be pinned."""
    return answer(chat_service.models())


@get(
    routes.MODELS + "/{model:str}",
    tags=["chat"],
    operation_class=documented(answers={200: dict[str, Any]}, errors=(404,), openai_errors=True),
)
async def get_model(model: FromPath[str], chat_service: NamedDependency[ChatService]) -> Response[bytes]:
    """One model of the list."""
    return answer(chat_service.model(model))


def _headers(stamp: ChatStamp) -> dict[str, str]:
    return {
        COMPLETION_HEADER: stamp.completion_id,
        VERSION_HEADER: stamp.policy_version,
        CONVERSATION_HEADER: stamp.conversation_id,
    }


HANDLERS = [create_chat_completion, list_models, get_model]
