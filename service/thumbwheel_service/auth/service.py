"""Who may call: API keys, or, while there is no chat key, whoever sits at this machine and is no web page."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping

from thumbwheel.errors import ConfigurationError
from thumbwheel.events import DEFAULT_TENANT, now_ms
from thumbwheel_service.auth import keys
from thumbwheel_service.auth.guard import Caller, Connection, Scope
from thumbwheel_service.db.reader import Reader
from thumbwheel_service.db.tables import ApiKeyRow
from thumbwheel_service.errors import Forbidden, Unauthorized

REFRESH_SECONDS = 1.0
"""A key that was made or revoked elsewhere counts after at most this long."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_LOOPBACK_NAMES = ("localhost",)


class BadKey(Unauthorized):
    """The key is unknown, expired or revoked."""

    code = "invalid_api_key"


class NoKey(Unauthorized):
    """The route needs a key."""

    code = "missing_api_key"


class NotLocal(Forbidden):
    """Without keys, only this machine's own programs are answered."""

    code = "loopback_only"


class NeedsKey(ConfigurationError):
    """The service would listen to other machines without any chat key."""


class KeyAuthenticator:
    """Admits callers by their API key; keeps the keys in memory and looks for changes once a second."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._keys: dict[str, ApiKeyRow] = {}
        self._has_chat_key = True
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def admit(self, connection: Connection, scope: Scope) -> Caller:
        """The caller, if it may use routes of `scope`; raises `NoKey`, `BadKey`, `Forbidden`, `NotLocal`."""
        await self._refresh()
        token = bearer(connection.headers)
        key = keys.parse(token) if token else None
        if key is not None:
            return self._by_key(key, scope)
        if scope == "chat" and not self._has_chat_key and not (token or "").startswith("tw-"):
            check_local(connection)
            return Caller(DEFAULT_TENANT, None, "chat")
        if token:
            raise BadKey("unknown API key")
        raise NoKey("send an API key as `Authorization: Bearer tw-…`" + _where(scope))

    def _by_key(self, key: keys.ApiKey, scope: Scope) -> Caller:
        row = self._keys.get(key.prefix)
        if row is None or not keys.matches(row, key):
            raise BadKey("unknown API key")
        if not keys.is_usable(row, now_ms()):
            raise BadKey("this API key is " + ("revoked" if row.revoked_ms else "expired"))
        if scope == "admin" and row.scope != "admin":
            raise Forbidden("this needs an admin key")
        return Caller(row.tenant, row.prefix, "admin" if row.scope == "admin" else "chat")

    async def _refresh(self) -> None:
        """One look at the database for all who wait, so that one that hangs is waited for once."""
        if time.monotonic() - self._read_at < REFRESH_SECONDS:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._looked)
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        rows = await self._reader.run(keys.all_keys)
        self._keys = {row.prefix: row for row in rows}
        self._has_chat_key = any(row.scope == "chat" for row in rows)
        self._read_at = time.monotonic()

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # each who waits hears of it; with nobody left asyncio would complain


def _where(scope: Scope) -> str:
    return "; the first start wrote the admin key to admin.key in the data folder" if scope == "admin" else ""


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of the `Authorization` header, or None without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def check_local(connection: Connection) -> None:
    """Raise `NotLocal` unless a program of this machine calls, and not a web page by way of somebody's browser.

    A page that rebinds its own name to 127.0.0.1 is caught by the `Host` header, a page elsewhere by `Origin` and
    `Sec-Fetch-Site`, a form by the JSON content type that bodies must have (`http.read_body`).
    """
    if any(connection.headers.get(name) is not None for name in _FORWARDED):
        raise NotLocal("without an API key no proxy may stand between; make one with `thumbwheel keys create`")
    peer = connection.client
    if peer is None or not is_loopback(peer.host):
        raise NotLocal("without an API key only this machine is answered; make one with `thumbwheel keys create`")
    host = connection.headers.get("host", "")
    if not is_loopback(host_name(host)):
        raise NotLocal(f"without an API key the Host header must name this machine, not {host!r}")
    origin = connection.headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        raise NotLocal("without an API key web pages of other origins are not answered")
    if connection.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise NotLocal("without an API key requests from other sites are not answered")


def host_name(host: str) -> str:
    """The name or address of a `Host` header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if name.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_open_door(rows: list[ApiKeyRow], host: str, *, is_loopback_host: bool) -> None:
    """Raise `NeedsKey` when other machines could reach a service without any usable chat key."""
    if is_loopback_host or any(row.scope == "chat" and keys.is_usable(row, now_ms()) for row in rows):
        return
    raise NeedsKey(
        f"refusing to listen on {host} without an API key: anybody who reaches it could chat and vote. "
        "Make one with `thumbwheel keys create --name NAME`, or listen on 127.0.0.1."
    )
