"""What we add to OpenAI's chat body, taken out of it before the engine sees the rest."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from thumbwheel.events import new_id
from thumbwheel.types import BODY_KEY, CONVERSATION_HEADER, Identifier, Message, Metadata
from thumbwheel_service.errors import BadInput

MAX_METADATA = 16
MAX_USER = 512


class BadExtension(BadInput):
    """`metadata`, `user`, `store`, the conversation id or our own body key is not as documented."""

    code = "invalid_value"


class Asked(Struct, frozen=True, kw_only=True):
    """What a caller said beyond the chat itself."""

    model: str | None
    conversation_id: str
    user: str | None
    store: bool
    metadata: Metadata


class Extension(Struct, frozen=True, forbid_unknown_fields=True):
    """Our own key of the body."""

    conversation_id: Identifier | None = None


class ChatBody(Struct, kw_only=True):
    """What the service itself reads of OpenAI's chat body; everything else in it is the serving layer's to check."""

    messages: list[Message]
    model: str | None = None
    stream: bool | None = None
    user: Annotated[str, Meta(max_length=MAX_USER, pattern="^[^\\x00]*$")] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    thumbwheel: Extension | None = None


def take(body: dict[str, Any], headers: Mapping[str, str]) -> Asked:
    """Remove our fields from `body` and return them; raises `BadExtension` naming the field.

    The conversation id is looked for under our own body key, in `metadata`, in the header; else one is made up.
    """
    metadata: Metadata = _convert(body.pop("metadata", None), Metadata | None, "metadata") or {}
    if len(metadata) > MAX_METADATA:
        raise BadExtension(f"metadata has at most {MAX_METADATA} pairs", field="metadata")
    ours = _convert(body.pop(BODY_KEY, None), Extension | None, BODY_KEY) or Extension()
    store = _convert(body.pop("store", None), bool | None, "store")
    _convert(body.get("stream"), bool | None, "stream")
    model = _convert(body.get("model"), str | None, "model")
    return Asked(
        model=model or None,
        conversation_id=_conversation(ours, metadata, headers),
        user=_user(body.get("user")),
        store=store is not False,
        metadata=metadata,
    )


def _conversation(ours: Extension, metadata: Metadata, headers: Mapping[str, str]) -> str:
    if ours.conversation_id is not None:
        return ours.conversation_id
    if (given := metadata.get("conversation_id")) is not None:
        return _convert(given, Identifier, "metadata.conversation_id")
    if (given := headers.get(CONVERSATION_HEADER)) is not None:
        return _convert(given, Identifier, CONVERSATION_HEADER)
    return new_id("conv")


def _user(given: Any) -> str | None:
    user = _convert(given, str | None, "user")
    if user is not None and (len(user) > MAX_USER or "\0" in user):
        raise BadExtension(f"user has at most {MAX_USER} characters and no NUL", field="user")
    return user or None


def _convert(value: Any, wanted: Any, field: str) -> Any:
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise BadExtension(str(error), field=field) from error
