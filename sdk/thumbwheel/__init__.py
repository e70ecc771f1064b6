"""Thumbwheel SDK: chat with, and give feedback to, a service that learns from it.

Importing the package costs next to nothing: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thumbwheel.async_client import AsyncChatStream, AsyncClient
    from thumbwheel.chat import ChatChoice, ChatChunk, ChatResult, Usage
    from thumbwheel.client import ChatStream, Client
    from thumbwheel.errors import (
        ApiError,
        BadRequest,
        ConfigurationError,
        Conflict,
        ConnectionFailed,
        Forbidden,
        NotFound,
        PayloadTooLarge,
        RateLimited,
        ServerError,
        StreamBroken,
        ThumbwheelError,
        TimedOut,
        Unauthorized,
        UnexpectedAnswer,
        UnprocessableEntity,
    )
    from thumbwheel.raw import RawResponse
    from thumbwheel.retry import Backoff

__version__ = "0.1.0"

_HOMES = {
    "thumbwheel.async_client": ("AsyncChatStream", "AsyncClient"),
    "thumbwheel.chat": ("ChatChoice", "ChatChunk", "ChatResult", "Usage"),
    "thumbwheel.client": ("ChatStream", "Client"),
    "thumbwheel.errors": (
        "ApiError",
        "BadRequest",
        "ConfigurationError",
        "Conflict",
        "ConnectionFailed",
        "Forbidden",
        "NotFound",
        "PayloadTooLarge",
        "RateLimited",
        "ServerError",
        "StreamBroken",
        "ThumbwheelError",
        "TimedOut",
        "Unauthorized",
        "UnexpectedAnswer",
        "UnprocessableEntity",
    ),
    "thumbwheel.raw": ("RawResponse",),
    "thumbwheel.retry": ("Backoff",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ApiError",
    "AsyncChatStream",
    "AsyncClient",
    "Backoff",
    "BadRequest",
    "ChatChoice",
    "ChatChunk",
    "ChatResult",
    "ChatStream",
    "Client",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "Forbidden",
    "NotFound",
    "PayloadTooLarge",
    "RateLimited",
    "RawResponse",
    "ServerError",
    "StreamBroken",
    "ThumbwheelError",
    "TimedOut",
    "Unauthorized",
    "UnexpectedAnswer",
    "UnprocessableEntity",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
