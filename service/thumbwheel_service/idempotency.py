"""`Idempotency-Key`: the same request sent twice is applied once, and answered twice with the same words.

The record lies in the same transaction as what the request did. Writers take turns (`db/writer.py`, `db/engine.py`),
so of two requests under one key the second finds what the first stored.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from litestar import Response
from sqlalchemy import bindparam, delete, select

from thumbwheel import box, routes
from thumbwheel.box import Secrets
from thumbwheel.events import now_ms
from thumbwheel_service.db.bulk import Among, Insert
from thumbwheel_service.db.keyring import PersonErased
from thumbwheel_service.db.session import Session
from thumbwheel_service.db.tables import IdempotencyRow, table_of
from thumbwheel_service.errors import BadInput, Unprocessable
from thumbwheel_service.http import AnyRequest, answer

EXPIRY_HOURS = 24
REPLAYED_HEADER = "idempotency-replayed"
EXPIRY_HEADER = "idempotency-key-expiry"
"""Seconds for which a key is remembered; on every answer to a request that carried one."""
_table = table_of(IdempotencyRow)
_mine = (_table.c.tenant == bindparam("tenant")) & (_table.c.key == bindparam("key"))
_FIND = select(_table.c.digest, _table.c.status, _table.c.body, _table.c.expires_ms).where(_mine)
_FORGET = delete(_table).where(_mine)
_remember = Insert(_table, ("tenant", "key", "digest", "status", "body", "expires_ms"))
_known = Among(_table, ["key"], "key", equal=["tenant"])
_MAX_LENGTH = 255
NO_KEYS: Secrets = MappingProxyType({})


class BadKey(BadInput):
    """The key is empty, too long or not plain ASCII."""

    code = "invalid_idempotency_key"


class KeyReused(Unprocessable):
    """The key came before with another request."""

    code = "idempotency_key_reused"


class Once(NamedTuple):
    """A request that must be applied at most once."""

    tenant: str
    key: str
    digest: str


class Answer(NamedTuple):
    """What a request is answered with: JSON, and whether it was stored by an earlier one."""

    status: int
    body: bytes
    keys: Secrets = NO_KEYS
    """Of everybody whose words the body repeats: it is kept sealed under them."""
    replayed: bool = False


def once(request: AnyRequest, tenant: str, body: bytes) -> Once | None:
    """The request's idempotency key with a digest of what it asks, or None without one; raises `BadKey`."""
    key = request.headers.get(routes.IDEMPOTENCY_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= _MAX_LENGTH or not (key.isascii() and key.isprintable()):
        raise BadKey(f"an idempotency key has 1 to {_MAX_LENGTH} printable ASCII characters", field="Idempotency-Key")
    digest = hashlib.sha256(f"{request.method} {request.scope['path']}\n".encode() + body)
    return Once(tenant, key, digest.hexdigest())


def apply_once(session: Session, request: Once | None, work: Callable[[Session], Answer]) -> Answer:
    """Answer from the record, or do `work` and record its answer; what `work` raises is not recorded.

    An answer that repeats the words of somebody who has been erased since is no answer any more. Raises `KeyReused`
    when the key came before with another request.
    """
    if request is None:
        return work(session)
    now = now_ms()
    connection = session.connection()
    mine = {"tenant": request.tenant, "key": request.key}
    stored = connection.execute(_FIND, mine).one_or_none()
    if stored is not None and stored.expires_ms > now:
        if stored.digest != request.digest:
            raise KeyReused("this idempotency key was used with another request", field="Idempotency-Key")
        with suppress(PersonErased):
            return Answer(stored.status, session.opened(stored.body, _name(request)), replayed=True)
    if stored is not None:
        connection.execute(_FORGET, mine)
    result = work(session)
    remember(session, [(request, result)])
    return result


def known(session: Session, tenant: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys under which something was asked before, expired or not."""
    return {key for (key,) in _known(session.connection(), keys, tenant)}


def remember(session: Session, answered: Sequence[tuple[Once, Answer]]) -> None:
    """Record answers to requests whose keys are new."""
    expires = now_ms() + EXPIRY_HOURS * 3_600_000
    rows = [(*once, answer.status, _sealed(once, answer), expires) for once, answer in answered]
    _remember.each(session.connection(), rows)


def _sealed(once: Once, answer: Answer) -> bytes:
    return box.seal(answer.body, answer.keys, _name(once)) if answer.keys else answer.body


def _name(once: Once) -> str:
    return f"idempotency/{once.tenant}/{once.key}"


def respond(result: Answer, request: Once | None) -> Response[bytes]:
    """The HTTP answer, saying whether it was replayed and how long the key is remembered."""
    headers: dict[str, str] = {}
    if request is not None:
        headers[EXPIRY_HEADER] = str(EXPIRY_HOURS * 3600)
        if result.replayed:
            headers[REPLAYED_HEADER] = "true"
    return answer(result.body, status=result.status, headers=headers)


def purge(session: Session) -> int:
    """Forget expired keys; returns how many."""
    result = session.execute(delete(_table).where(_table.c.expires_ms <= now_ms()))
    return int(getattr(result, "rowcount", 0))
