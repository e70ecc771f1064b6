"""The SQLAlchemy engine of the service, tuned so that a commit means: on disk."""

from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection

_WRITERS_TURN = 0x7457
"""Key of the PostgreSQL advisory lock under which writing transactions take turns."""


def connect(url: str) -> Engine:
    """An engine for SQLite (WAL, `synchronous=FULL`) or PostgreSQL (`synchronous_commit=on`, psycopg)."""
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=8)
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(url, pool_size=8, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    event.listen(engine, "connect", _tune_postgres)
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-65536",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Writers say so (`execution_options(writes=True)`): a deferred transaction that upgrades can fail half-way."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _tune_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SET lock_timeout = '10s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.commit()


def _begin_postgres(connection: Connection) -> None:
    """Writers take turns, as on SQLite: groups of units lock many rows, and in no common order between replicas."""
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_TURN})")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))
