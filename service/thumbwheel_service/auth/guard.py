"""Who calls, and whether they may: guards that the composition root puts in front of groups of routes."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

Scope = Literal["chat", "admin"]
Connection = ASGIConnection[Any, Any, Any, Any]
_STATE = "thumbwheel_caller"


class Caller(NamedTuple):
    """An admitted caller."""

    tenant: str
    key: str | None
    """Public prefix of the API key; None for a keyless loopback caller."""
    scope: Scope


class Authenticator(Protocol):
    """Decides who calls."""

    async def admit(self, connection: Connection, scope: Scope) -> Caller:
        """The caller, if it may use routes of `scope`; raises `Unauthorized` or `Forbidden`."""
        ...


def require(authenticator: Authenticator, scope: Scope) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """A Litestar guard that admits callers of `scope` (an admin may do everything) and remembers who it was."""

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        connection.scope["state"][_STATE] = await authenticator.admit(connection, scope)

    return guard


def caller(connection: Connection) -> Caller:
    """The caller that the guard of this route admitted."""
    admitted: Caller = connection.scope["state"][_STATE]
    return admitted
