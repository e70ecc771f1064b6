"""Who calls, and whether they may: guards that the composition root puts in front of groups of routes."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from thumbwheel_service.auth.rates import HEADERS, Rates

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


def require(
    authenticator: Authenticator, scope: Scope, rates: Rates | None = None
) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """A Litestar guard that admits callers of `scope` (an admin may do everything) and remembers who it was.

    With `rates` every caller but an admin has a budget; its headers go out with the response, refused or not.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        admitted = await authenticator.admit(connection, scope)
        state = connection.scope["state"]
        state[_STATE] = admitted
        if rates is None or admitted.scope == "admin":
            return
        quota, refusal = rates.spend(admitted.key)
        state[HEADERS] = quota.headers()
        if refusal is not None:
            raise refusal

    return guard


def caller(connection: Connection) -> Caller:
    """The caller that the guard of this route admitted."""
    admitted: Caller = connection.scope["state"][_STATE]
    return admitted
