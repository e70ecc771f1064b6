"""The same tests on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import postgres_url, sqlite_url
from tests.keyrings import close_keyrings

from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import migrate

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = connect(sqlite_url(tmp_path) if request.param == "sqlite" else postgres_url())
    yield engine
    engine.dispose()
    close_keyrings()


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = connect(sqlite_url(tmp_path) if request.param == "sqlite" else postgres_url(migrated=True))
    migrate(engine)
    yield engine
    engine.dispose()
    close_keyrings()
