"""The learner's database: connection, migration, and transactions that mean "on disk" when they return."""

import importlib.resources
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlmodel import Session

VERSION_TABLE = "learner_alembic_version"


def connect(url: str) -> Engine:
    """An engine for SQLite (WAL, `synchronous=FULL`) or PostgreSQL (`synchronous_commit=on`, psycopg)."""
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=8)
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(url, pool_size=8, pool_pre_ping=True)
    event.listen(engine, "connect", _tune_postgres)
    return engine


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to `revision` (up or down), in one transaction."""
    config = _config()
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        now = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
        if revision == "base" or (revision != "head" and now is not None and revision < now):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def has_current_schema(engine: Engine) -> bool | None:
    """Whether the tables are those of this version; None where there are none (nothing is created)."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        return None
    with engine.connect() as connection:
        found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    return None if found is None else found == ScriptDirectory.from_config(_config()).get_current_head()


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One durable transaction; committed when the block ends, rolled back when it raises."""
    connection = engine.connect().execution_options(writes=True)
    with connection, Session(connection, autoflush=False, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One consistent view of the store (a snapshot on both databases); nothing is written."""
    connection = engine.connect()
    if connection.dialect.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    with connection, Session(connection, autoflush=False, expire_on_commit=False) as session, session.begin():
        yield session


def _config() -> Config:
    config = Config()
    folder = importlib.resources.files("thumbwheel_learner.store") / "migrations"
    config.set_main_option("script_location", str(folder))
    return config


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "cache_size=-65536"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _tune_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    connection.commit()
