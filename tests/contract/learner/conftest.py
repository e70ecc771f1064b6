"""The same tests on stores in SQLite and in PostgreSQL: one to learn into, and one to rebuild into."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine
from tests.databases import postgres_url

from thumbwheel_learner.store.session import connect, migrate, writing
from thumbwheel_learner.store.tables import LearnerTable


class Stores(NamedTuple):
    store: Engine
    rebuilt: Engine

    def empty(self) -> None:
        """As they were made; faster than making them anew."""
        for engine in self:
            with writing(engine) as session:
                for table in LearnerTable.metadata.tables.values():
                    session.connection().execute(table.delete())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    def url(name: str) -> str:
        folder: Path = tmp_path_factory.mktemp(name)
        return postgres_url() if request.param == "postgres" else f"sqlite:///{folder / 'learner.db'}"

    stores = Stores(connect(url("store")), connect(url("rebuilt")))
    for engine in stores:
        migrate(engine)
    yield stores
    for engine in stores:
        engine.dispose()
