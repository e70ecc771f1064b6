"""API keys: minting, storing only a digest, and the admin key's file that the first start writes."""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlmodel import Session, col

from thumbwheel.errors import ConfigurationError
from thumbwheel.events import DEFAULT_TENANT, now_ms
from thumbwheel_service.auth.guard import Scope
from thumbwheel_service.db.tables import ApiKeyRow, table_of
from thumbwheel_service.errors import Missing

_table = table_of(ApiKeyRow)
_FORM = re.compile(r"tw-(?P<prefix>[0-9a-f]{12})\.(?P<secret>[A-Za-z0-9_\-]{43})")


class UnknownKey(Missing):
    """No API key has this prefix."""

    code = "unknown_key"


class BadKeyFile(ConfigurationError):
    """A key file is unreadable or holds something else; the message says how to mend it."""


class ApiKey(NamedTuple):
    """A key in clear: the public prefix names it, the secret proves it."""

    prefix: str
    secret: str

    @property
    def text(self) -> str:
        """What the caller sends as its bearer token."""
        return f"tw-{self.prefix}.{self.secret}"

    @property
    def digest(self) -> str:
        """What the database holds; the secret is random and 256 bits long, so one round of SHA-256 is enough."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def mint() -> ApiKey:
    """A fresh key."""
    return ApiKey(secrets.token_hex(6), secrets.token_urlsafe(32))


def parse(text: str) -> ApiKey | None:
    """The key in a bearer token, or None when it has not our form."""
    match = _FORM.fullmatch(text)
    return ApiKey(match["prefix"], match["secret"]) if match else None


def create(session: Session, key: ApiKey, *, name: str, scope: Scope, expires_ms: int | None = None) -> None:
    """Store the digest of a key."""
    row = {
        "prefix": key.prefix,
        "tenant": DEFAULT_TENANT,
        "name": name,
        "scope": scope,
        "secret_sha256": key.digest,
        "created_ms": now_ms(),
        "expires_ms": expires_ms,
    }
    session.execute(insert(_table), row)


def all_keys(session: Session) -> list[ApiKeyRow]:
    """Every key, oldest first, expired and revoked ones included."""
    statement = select(ApiKeyRow).order_by(col(ApiKeyRow.created_ms), col(ApiKeyRow.prefix))
    return list(session.execute(statement, execution_options={"populate_existing": True}).scalars())


def revoke(session: Session, prefix: str) -> ApiKeyRow:
    """Refuse a key from now on; raises `UnknownKey`."""
    row = session.get(ApiKeyRow, prefix, populate_existing=True)
    if row is None:
        raise UnknownKey(f"no key with the prefix {prefix!r}; `thumbwheel keys list` names them", field="prefix")
    if row.revoked_ms is None:
        row.revoked_ms = now_ms()
        change = update(_table).where(_table.c.prefix == prefix).values(revoked_ms=row.revoked_ms)
        session.execute(change)
    return row


def is_usable(row: ApiKeyRow, now: int) -> bool:
    """Neither revoked nor expired."""
    return row.revoked_ms is None and (row.expires_ms is None or row.expires_ms > now)


def matches(row: ApiKeyRow, key: ApiKey) -> bool:
    """Whether the secret is this row's, compared in constant time."""
    return hmac.compare_digest(row.secret_sha256, key.digest)


def admin_key(path: Path) -> ApiKey:
    """The admin key in its file, made by the first start with mode 0600; raises `BadKeyFile`."""
    key = parse(read_or_make(path, mint().text.encode() + b"\n").decode(errors="replace").strip())
    if key is None:
        raise BadKeyFile(f"{path} holds no admin key; move it away and start again to get a new one")
    return key


def ensure_admin(session: Session, key: ApiKey) -> None:
    """Make the key of the file known to this database."""
    if session.get(ApiKeyRow, key.prefix, populate_existing=True) is None:
        create(session, key, name="admin.key", scope="admin")


def read_or_make(path: Path, content: bytes) -> bytes:
    """The file's content; when there is none it is made, whole and with mode 0600, whoever else tries just then."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_bytes()
