"""The SQLAlchemy engine of the service, tuned so that a commit means: on disk, and an outage is noticed soon."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection

from thumbwheel_service.db.bulk import ROWS_TOGETHER
from thumbwheel_service.errors import Unavailable

_WRITERS_TURN = 0x7457
"""Key of the PostgreSQL advisory lock under which writing transactions take turns."""
_LOCKED_SECONDS = 10
"""How long a transaction waits for another one's lock."""
_CHECKPOINT_PAGES = 8000
"""SQLite's write-ahead log is carried over at this length (32 MB): a page that many commits changed goes but once."""
_STATEMENTS = 10 * ROWS_TOGETHER
"""Parsed statements kept for each connection of SQLite: an insert of a group has one text for each number of rows."""
_POSTGRES: dict[str, int] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""A server whose machine has vanished is given up after seconds, not after the kernel's quarter of an hour."""


class DatabaseGone(Unavailable):
    """The SQLite file was removed or replaced under us: what is written to the old one nobody would ever find."""


def connect(url: str) -> Engine:
    """An engine for SQLite (WAL, `synchronous=FULL`) or PostgreSQL (`synchronous_commit=on`, psycopg)."""
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith("sqlite"):
        return _sqlite(url)
    engine = create_engine(url, pool_size=8, pool_pre_ping=True, hide_parameters=True, connect_args=_POSTGRES)
    event.listen(engine, "connect", _tune_postgres)
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _sqlite(url: str) -> Engine:
    """Only the first call of a database's life makes its file: one that goes away later is never made anew, empty."""
    file = Path(make_url(url).database or "").absolute()
    file.touch()

    def open_file() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{file.as_uri()}?mode=rw",
            uri=True,
            timeout=_LOCKED_SECONDS,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )

    def remember(connection: Any, record: Any) -> None:
        _tune_sqlite(connection)
        record.info[_FILE] = _identity(file)

    def begin(connection: Connection) -> None:
        _require_in_place(connection, file)
        _begin_sqlite(connection)

    engine = create_engine(url, creator=open_file, pool_size=8, hide_parameters=True)
    event.listen(engine, "connect", remember)
    event.listen(engine, "begin", begin)
    return engine


_FILE = "thumbwheel_file"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _require_in_place(connection: Connection, file: Path) -> None:
    there = _identity(file)
    if there is None:
        raise DatabaseGone("the database file is gone")
    if there != connection.info.get(_FILE):
        connection.invalidate()
        raise DatabaseGone("the database file was replaced")


def _tune_sqlite(connection: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_LOCKED_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-65536",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Writers say so (`execution_options(writes=True)`): a deferred transaction that upgrades can fail half-way."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _tune_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = '{_LOCKED_SECONDS}s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.commit()


def _begin_postgres(connection: Connection) -> None:
    """Writers take turns, as on SQLite: groups of units lock many rows, and in no common order between replicas."""
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_TURN})")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))
