"""Where people's keys lie: a database of its own, so that a back-up of what they said does not hold them.

Destroying a key is what erases: every box under it, in the database, on the bus, in snapshots and in back-ups, stays
closed for ever. What was destroyed is remembered by its id, so that a key that is merely missing (a key store restored
from an old back-up) is an alarm, and no erasure.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from thumbwheel.box import KEY_BYTES, Secrets
from thumbwheel.events import now_ms, time_ordered
from thumbwheel_service.db.bulk import Among
from thumbwheel_service.db.checkpoint import checkpoint
from thumbwheel_service.db.engine import DatabaseGone
from thumbwheel_service.db.trouble import reason_of
from thumbwheel_service.errors import Unavailable

T = TypeVar("T")
Reason = Literal["erased", "expired"]
"""Why a key was destroyed: on request, with all that the person had; or what is sealed under it is too old."""
SCHEMA = "thumbwheel_keys"
"""Of the keys where they share a PostgreSQL database with the rest: `pg_dump --exclude-schema` leaves them out."""
_CHUNK = 500


class KeysUnavailable(Unavailable):
    """The key store does not answer, or has lost keys; nothing was acknowledged."""


class KeyStore(Protocol):
    """Durable keys, shared by all replicas."""

    def make(self, count: int) -> Secrets:
        """Fresh keys, on disk when this returns. Raises `KeysUnavailable`."""
        ...

    def get(self, ids: Collection[str]) -> Secrets:
        """Those of the keys that are there. Raises `KeysUnavailable`."""
        ...

    def destroyed(self, ids: Sequence[str]) -> set[str]:
        """Those that were destroyed. Raises `KeysUnavailable`."""
        ...

    def destroy(self, ids: Sequence[str], why: Reason) -> None:
        """Destroy them, on disk when this returns; again is fine. Raises `KeysUnavailable`."""
        ...

    def all_destroyed(self, why: Reason) -> set[str]:
        """Every key that was ever destroyed for that reason. Raises `KeysUnavailable`."""
        ...


class SqlKeyStore:
    """A `KeyStore` in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Makes the tables where they are missing; raises the database's error."""
        self._engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        schema = None if self._sqlite else SCHEMA
        metadata = MetaData(schema=schema)
        self._keys = Table(
            "person_key", metadata, Column("key_id", String, primary_key=True), Column("secret", LargeBinary)
        )
        self._gone = Table(
            "destroyed_key",
            metadata,
            Column("key_id", String, primary_key=True),
            Column("destroyed_ms", BigInteger),
            Column("reason", String),
        )
        self._held = Among(self._keys, ["key_id", "secret"], "key_id")
        self._known_gone = Among(self._gone, ["key_id"], "key_id")
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            if schema is not None:
                connection.execute(CreateSchema(schema, if_not_exists=True))
            metadata.create_all(connection)

    def make(self, count: int) -> Secrets:
        """See `KeyStore`."""
        made = {time_ordered(): secrets.token_bytes(KEY_BYTES) for _ in range(count)}
        with _transaction(self._engine) as connection:
            connection.execute(insert(self._keys), [{"key_id": i, "secret": key} for i, key in made.items()])
        return made

    def get(self, ids: Collection[str]) -> Secrets:
        """See `KeyStore`."""
        with _transaction(self._engine, writes=False) as connection:
            return {key_id: bytes(secret) for key_id, secret in self._held(connection, sorted(ids))}

    def destroyed(self, ids: Sequence[str]) -> set[str]:
        """See `KeyStore`."""
        with _transaction(self._engine, writes=False) as connection:
            return {key_id for (key_id,) in self._known_gone(connection, ids)}

    def destroy(self, ids: Sequence[str], why: Reason) -> None:
        """See `KeyStore`. SQLite overwrites the freed pages and empties its write-ahead log."""
        known = self.destroyed(ids)
        now = now_ms()
        fresh = [{"key_id": i, "destroyed_ms": now, "reason": why} for i in ids if i not in known]
        with _transaction(self._engine) as connection:
            if self._sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            for start in range(0, len(ids), _CHUNK):
                connection.execute(delete(self._keys).where(self._keys.c.key_id.in_(ids[start : start + _CHUNK])))
            if fresh:
                connection.execute(self._remember(), fresh)
        if self._sqlite:
            checkpoint(self._engine, "TRUNCATE")

    def all_destroyed(self, why: Reason) -> set[str]:
        """See `KeyStore`."""
        statement = select(self._gone.c.key_id).where(self._gone.c.reason == why)
        with _transaction(self._engine, writes=False) as connection:
            return set(connection.execute(statement).scalars())

    def _remember(self) -> Any:
        """Another replica may be destroying the same key."""
        dialect = sqlite if self._sqlite else postgresql
        return dialect.insert(self._gone).on_conflict_do_nothing()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


class KeyThread:
    """The key store from the event loop: in a thread of its own, whose work is done before the store is closed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keys")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, which goes on when the caller is cancelled; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def begin(self, work: Callable[[], object]) -> None:
        """Do `work` soon, for nobody who waits; not at all once it is closed."""
        with suppress(RuntimeError):
            self._pool.submit(work)

    def close(self) -> None:
        """Finish what runs; safe to call twice."""
        self._pool.shutdown()


@contextmanager
def _transaction(engine: Engine, *, writes: bool = True) -> Iterator[Connection]:
    """A transaction of the key store whose failures are `KeysUnavailable`.

    On PostgreSQL it takes no writer's turn: the writer asks for keys while it has its own.
    """
    try:
        with (
            engine.connect().execution_options(writes=writes and engine.dialect.name == "sqlite") as connection,
            connection.begin(),
        ):
            yield connection
    except (SQLAlchemyError, DatabaseGone) as error:
        raise KeysUnavailable(f"the key store does not answer ({reason_of(error)}); try again") from error
